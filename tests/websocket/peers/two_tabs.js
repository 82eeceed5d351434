// Two tabs of a browser in one room: each types a line, and both see both. two_tabs.js URL PROFILE
const WebSocket = require('ws');
const {spawn} = require('child_process');
const fs = require('fs');
const http = require('http');
const [url, profile] = process.argv.slice(2);

const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));
const until = async (what, look) => {
  for (let i = 0; i < 300; ++i) {
    const found = await look();
    if (found) return found;
    await pause(100);
  }
  throw new Error('in vain: ' + what);
};
const ask = (method, address) => new Promise((done, failed) => {
  const request = http.request(address, {method}, answer => {
    let text = '';
    answer.on('data', piece => text += piece);
    answer.on('end', () => done(text));
  });
  request.on('error', failed);
  request.end();
});

// A tab, driven over the browser's own WebSocket.
class Tab {
  static async open(port, address) {
    const target = JSON.parse(await ask('PUT', `http://127.0.0.1:${port}/json/new?about:blank`));
    const tab = new Tab();
    tab.socket = new WebSocket(target.webSocketDebuggerUrl);
    tab.waiting = new Map();
    tab.last = 0;
    await new Promise((done, failed) => { tab.socket.on('open', done); tab.socket.on('error', failed); });
    tab.socket.on('message', text => {
      const said = JSON.parse(text);
      if (tab.waiting.has(said.id)) tab.waiting.get(said.id)(said);
    });
    await tab.call('Page.navigate', {url: address});
    return tab;
  }
  call(method, params) {
    return new Promise(done => {
      this.waiting.set(++this.last, done);
      this.socket.send(JSON.stringify({id: this.last, method, params}));
    });
  }
  async value(expression) {
    const said = await this.call('Runtime.evaluate', {expression, returnByValue: true});
    return said.result && said.result.result && said.result.result.value;
  }
  text(id) { return this.value(`(document.getElementById('${id}') || {}).textContent`); }
  async type(words) {
    await this.value("document.getElementById('text').focus()");
    await this.call('Input.insertText', {text: words});
    for (const type of ['keyDown', 'keyUp'])
      await this.call('Input.dispatchKeyEvent', {type, key: 'Enter', code: 'Enter', windowsVirtualKeyCode: 13, text: '\r'});
  }
}

async function main() {
  const browser = spawn('chromium', ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--remote-allow-origins=*',
    '--remote-debugging-port=0', '--user-data-dir=' + profile, 'about:blank'], {stdio: 'ignore'});
  try {
    const file = profile + '/DevToolsActivePort';
    const port = (await until('the browser', () => fs.existsSync(file) && fs.readFileSync(file, 'utf8'))).split('\n')[0];
    const ann = await Tab.open(port, url + '?room=test&name=ann');
    const bob = await Tab.open(port, url + '?room=test&name=bob');
    for (const [tab, name] of [[ann, 'ann'], [bob, 'bob']])
      await until(name + ' is connected', async () => (await tab.text('state')) === name + ' in test');
    await ann.type('hello from ann <b>not bold</b>');
    await bob.type('hello from bob ä€😀');
    for (const tab of [ann, bob])
      for (const words of ['ann: hello from ann <b>not bold</b>', 'bob: hello from bob ä€😀'])
        await until(words, async () => ((await tab.text('lines')) || '').includes(words));
    console.log('all is well');
  } finally {
    browser.kill('SIGKILL');
  }
}
main().then(() => process.exit(0), failure => { console.log(failure); process.exit(1); });
