// An HTTP/2 server that says what it was asked, and how much came with it.
const http2 = require('http2');
const server = http2.createServer({ settings: { maxConcurrentStreams: 250 } });
server.on('session', (session) => session.on('error', () => {}));
server.on('stream', (stream, headers) => {
  let bytes = 0;
  stream.on('error', () => {});
  stream.on('data', (data) => { bytes += data.length; });
  stream.on('end', () => {
    stream.respond({ ':status': 200, 'content-type': 'text/plain' });
    stream.end(`${headers[':method']} ${headers[':path']} ${bytes}\n`);
  });
});
server.listen(Number(process.argv[2]), '::');
