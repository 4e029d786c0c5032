// Node's own HTTP server on two ports: writes each request that it executes to a file, a line each.
'use strict';
const fs = require('fs');
const http = require('http');
const [log, ...ports] = process.argv.slice(2);
const lines = fs.openSync(log, 'a');
const answer = (request, response) => {
  fs.writeSync(lines, `${request.method} ${request.url}\n`);
  request.resume();
  response.end('ok\n');
};
for (const port of ports) {
  const server = http.createServer(answer);
  server.on('upgrade', (request, socket) => {
    fs.writeSync(lines, `${request.method} ${request.url}\n`);
    socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
  });
  server.on('connect', (request, socket) => {
    fs.writeSync(lines, `${request.method} ${request.url}\n`);
    socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
  });
  server.listen(Number(port), '::');
}
