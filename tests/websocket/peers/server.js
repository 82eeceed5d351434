// An echo server of node's ws.
const {WebSocketServer} = require('ws');
const server = new WebSocketServer({host: '127.0.0.1', port: 0, maxPayload: 0, handleProtocols: all => [...all][0]});
server.on('listening', () => console.log('listens on 127.0.0.1:' + server.address().port));
server.on('connection', socket => {
  socket.on('error', failure => console.error(failure));
  socket.on('message', (data, is_binary) => socket.send(data, {binary: is_binary}));
});
process.on('SIGTERM', () => process.exit(0));
