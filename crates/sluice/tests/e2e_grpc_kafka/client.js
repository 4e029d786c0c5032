// A client over HTTP/2 that counts statuses: uploads side by side, then rounds of many small requests.
const http2 = require('http2');
const session = http2.connect(process.argv[2]);
session.on('error', (error) => { console.log(JSON.stringify({ error: error.message })); process.exit(1); });

function ask(headers, body) {
  return new Promise((resolve) => {
    const request = session.request(headers);
    let status = 'no answer', text = '';
    request.on('response', (answer) => { status = answer[':status']; });
    request.on('data', (data) => { text += data; });
    request.on('end', () => resolve(status === 200 ? `200 ${text.trim()}` : status));
    request.on('error', (error) => resolve(error.message));
    request.end(body);
  });
}

function count(said, answers) {
  for (const answer of answers) said[answer] = (said[answer] || 0) + 1;
}

(async () => {
  const body = Buffer.alloc(200000, 120);
  const said = { uploads: {}, requests: {} };
  // More than the connection's window in each round, refused: the credit must come back.
  for (let round = 0; round < 3; round++) {
    const path = (n) => (n % 3 === 1 ? '/private/upload' : '/public/upload');
    count(said.uploads, await Promise.all([...Array(12).keys()].map((n) => ask({ ':method': 'POST', ':path': path(n) }, body))));
  }
  for (let round = 0; round < 30; round++) {
    // A field that differs each time goes into the header table and pushes another one out.
    const one = (n) => ask({ ':path': n % 3 === 2 ? '/private/x' : '/public/x', 'x-number': `${round}-${n}-`.repeat(12) });
    count(said.requests, await Promise.all([...Array(99).keys()].map(one)));
  }
  await new Promise((resolve) => session.ping((error) => { said.ping = error ? error.message : 'ok'; resolve(); }));
  console.log(JSON.stringify(said));
  session.close();
})();
