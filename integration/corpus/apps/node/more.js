'use strict';
// Questions that use the rest of the platform. Each loads what it needs when it
// is asked.

exports.encodings = () => {
  const decode = (name, hex) => new TextDecoder(name).decode(Buffer.from(hex, 'hex'));
  return [decode('shift_jis', '93fa967b'), decode('koi8-r', 'f0d2c9d7c5d4'), decode('gb18030', 'c8d5b1be')];
};

exports.intl = () => [
  new Intl.NumberFormat('hi-IN-u-nu-deva').format(123456.7),
  new Intl.DateTimeFormat('ar-EG', { dateStyle: 'long', timeZone: 'Africa/Cairo' }).format(new Date(1700000000000)),
  ['ö', 'z', 'o'].sort(new Intl.Collator('sv').compare).join(''),
  new Intl.PluralRules('pl').select(3),
  [...new Intl.Segmenter('th', { granularity: 'word' }).segment('สวัสดีครับ')].length,
  'İ'.toLocaleLowerCase('tr'),
];

exports.compression = () => {
  const zlib = require('zlib');
  return [zlib.brotliDecompressSync(zlib.brotliCompressSync('squeezed')).toString(), zlib.gunzipSync(zlib.gzipSync('zipped')).toString()];
};

exports.worker = () => new Promise((resolve, reject) => {
  const { Worker } = require('worker_threads');
  new Worker(require.resolve('./worker.js'), { workerData: 20 }).on('message', resolve).on('error', reject);
});

exports.modules = async () => (await import('./module.mjs')).greeting;

exports.commonjs = async () => {
  // A module of the other kind, whose exports have to be found by a lexer.
  const ns = await import('gauge');
  return typeof ns.default.sum;
};

exports.wasm = async () => {
  const bytes = Buffer.from('0061736d0100000001070160027f7f017f03020100070701036164640000' + '0a09010700200020016a0b', 'hex');
  const { instance } = await WebAssembly.instantiate(bytes);
  return instance.exports.add(2, 3);
};

exports.fetch = async () => {
  const res = await fetch('http://127.0.0.1:3000/absent');
  return [res.status, await res.text()];
};

exports.socket = () => new Promise((resolve, reject) => {
  const { WebSocketServer, WebSocket } = require('ws');
  const server = new WebSocketServer({ port: 3001, host: '127.0.0.1' }, () => {
    const client = new WebSocket('ws://127.0.0.1:3001');
    client.on('open', () => client.send('echo'));
    client.on('message', (data) => { resolve(String(data)); client.close(); server.close(); });
    client.on('error', reject);
  });
  server.on('connection', (peer) => peer.on('message', (data) => peer.send(String(data))));
});

exports.tls = () => {
  const crypto = require('crypto');
  const tls = require('tls');
  const { publicKey, privateKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const signature = crypto.sign('sha256', Buffer.from('x'), privateKey);
  return [crypto.verify('sha256', Buffer.from('x'), publicKey, signature), tls.rootCertificates.length > 100, crypto.getCiphers().length > 50];
};

exports.kdf = () => {
  const crypto = require('crypto');
  return [crypto.scryptSync('p', 's', 4, { N: 2, r: 1, p: 1 }).toString('hex'), crypto.hkdfSync('sha512', 'k', 's', 'i', 4).byteLength, crypto.createHash('blake2b512').update('x').digest('hex').slice(0, 8)];
};

exports.lookup = () => require('dns').promises.lookup('localhost', { family: 4 }).then((a) => a.address);

exports.child = () => require('child_process').execFileSync(process.execPath, ['-p', '6 * 7']).toString().trim();

exports.shell = () => require('child_process').execSync('echo from a shell').toString().trim();

exports.user = () => {
  const os = require('os');
  return [os.userInfo().username, os.homedir()];
};

exports.files = async () => {
  const fs = require('fs');
  const { pipeline } = require('stream/promises');
  fs.writeFileSync('/tmp/a', 'words');
  await pipeline(fs.createReadStream('/tmp/a'), require('zlib').createGzip(), fs.createWriteStream('/tmp/a.gz'));
  return fs.statSync('/tmp/a.gz').size > 0;
};

exports.report = () => JSON.parse(JSON.stringify(process.report.getReport())).header.event;

exports.builtins = () => {
  const failed = [];
  for (const name of require('module').builtinModules) {
    try {
      require(name);
    } catch (err) {
      failed.push(`${name}: ${err.message}`);
    }
  }
  return failed;
};

exports.zones = () => [Intl.supportedValuesOf('timeZone').length > 300, new Date(1700000000000).toLocaleString('en-GB', { timeZone: 'Asia/Kathmandu' })];
