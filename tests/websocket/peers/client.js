// What a client of node's ws gets from our server: client.js PORT.
const WebSocket = require('ws');
const assert = require('assert');
const address = `ws://127.0.0.1:${process.argv[2]}/`;

const opened = (path, protocols) => new Promise((done, failed) => {
  const socket = new WebSocket(address + path, protocols);
  socket.on('open', () => done(socket));
  socket.on('error', failed);
});
const next = (socket, event) => new Promise(done => socket.once(event, (...all) => done(all)));

async function main() {
  const socket = await opened('', ['chat.v2', 'chat']);
  assert.strictEqual(socket.protocol, 'chat.v2');
  for (const message of ['', 'hello', 'ä€😀', 'x'.repeat(70000), Buffer.alloc(3000000, 1)]) {
    socket.send(message);
    const [data, is_binary] = await next(socket, 'message');
    assert.strictEqual(is_binary, typeof message !== 'string');
    assert(Buffer.from(message).equals(data));
  }
  socket.send('frag', {fin: false});
  socket.ping('in between');
  socket.send('mented', {fin: true});
  const [[pong], [whole]] = await Promise.all([next(socket, 'pong'), next(socket, 'message')]);
  assert.strictEqual(pong.toString(), 'in between');
  assert.strictEqual(whole.toString(), 'fragmented');
  socket.close(3333, 'bye');
  const [code] = await next(socket, 'close');
  assert.strictEqual(code, 3333);

  const told = await opened('');
  told.send('close 4321');
  const [told_code, reason] = await next(told, 'close');
  assert.strictEqual(told_code, 4321);
  assert.strictEqual(reason.toString(), 'as you wish');

  for (const [path, message, wanted] of [['small', 'x'.repeat(101), 1009], ['', 'throw', 1011]]) {
    const refused = await opened(path);
    refused.send(message);
    assert.strictEqual((await next(refused, 'close'))[0], wanted);
  }
  const not_text = await opened('');
  not_text.send(Buffer.from([0xff]), {binary: false});
  assert.strictEqual((await next(not_text, 'close'))[0], 1007);
  console.log('all is well');
}
main().catch(failure => { console.log(failure); process.exit(1); });
