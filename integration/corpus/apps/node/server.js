'use strict';
// A small service: digests, dates in the visitor's language, a checksum in C++.
const crypto = require('crypto');
const http = require('http');
const gauge = require('gauge');
const more = require('./more');

const server = http.createServer(async (req, res) => {
  const url = new URL(req.url, 'http://localhost');
  const q = url.searchParams;
  let answer;
  try {
    if (url.pathname === '/digest') {
      answer = { sha256: crypto.createHash('sha256').update(q.get('text')).digest('hex'), sum: gauge.sum(q.get('text')) };
    } else if (url.pathname === '/date') {
      const format = new Intl.DateTimeFormat(q.get('locale'), { dateStyle: 'full', timeStyle: 'short', timeZone: q.get('zone') });
      answer = format.format(new Date(1700000000000));
    } else if (url.pathname === '/more') {
      answer = await more[q.get('what')]();
    } else {
      res.writeHead(404);
      res.end('no such page\n');
      return;
    }
  } catch (err) {
    answer = String(err);
  }
  res.setHeader('Content-Type', 'application/json');
  res.end(JSON.stringify(answer));
});

server.listen(3000);
process.on('SIGTERM', () => process.exit(0));
