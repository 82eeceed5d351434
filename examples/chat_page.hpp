// The page of the example chat: one file, without anything from elsewhere.
#pragma once

#include <string_view>

inline constexpr std::string_view chat_page = R"html(<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Chat</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 40em; margin: 1em auto; padding: 0 1em }
  #lines { height: 60vh; overflow-y: auto; border: 1px solid #999; padding: .5em; white-space: pre-wrap }
  form { display: flex; gap: .5em; margin-top: .5em }
  #text { flex: 1 }
</style>
<h1>Chat</h1>
<div id="lines" role="log"></div>
<form id="say">
  <input id="text" autocomplete="off" maxlength="1000" placeholder="say something" autofocus>
  <button>Send</button>
</form>
<p id="state">connecting</p>
<script>
const asked = new URLSearchParams(location.search);
const name = asked.get('name') || 'guest ' + Math.floor(Math.random() * 1000);
const room = asked.get('room') || 'lobby';
const by_id = id => document.getElementById(id);
let socket, delay = 500;
function connect() {
  const secure = location.protocol === 'https:' ? 'wss://' : 'ws://';
  socket = new WebSocket(secure + location.host + '/chat/' + encodeURIComponent(room) + '?name=' +
                         encodeURIComponent(name));
  socket.onopen = () => { delay = 500; by_id('lines').textContent = ''; by_id('state').textContent = name + ' in ' + room; };
  socket.onmessage = event => {
    const line = document.createElement('div');
    line.textContent = event.data;  // never as HTML
    by_id('lines').append(line);
    line.scrollIntoView();
  };
  socket.onclose = event => {
    by_id('state').textContent = 'closed (' + event.code + '), trying again';
    setTimeout(connect, delay = Math.min(2 * delay, 20000));
  };
}
by_id('say').onsubmit = event => {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN || by_id('text').value === '') return;
  socket.send(by_id('text').value);
  by_id('text').value = '';
};
connect();
</script>
</html>
)html";
