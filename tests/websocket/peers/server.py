"""An echo server of python's websockets."""
import asyncio
import signal

import websockets


async def echo(socket, *_):
    async for message in socket:
        await socket.send([message[: len(message) // 2], message[len(message) // 2 :]])


async def main():
    stop = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set_result, None)
    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None, subprotocols=["chat"]) as server:
        print("listens on 127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
        await stop


asyncio.run(main())
