"""A member of the chat that reads nothing is sent away; the others hear everything: slow.py PORT."""
import asyncio
import socket as sockets
import sys

import websockets

KEY = "GET /chat/slow?name=sloth HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"


async def main(port):
    sloth = sockets.socket()
    sloth.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    sloth.connect(("127.0.0.1", int(port)))
    sloth.sendall(KEY.encode())
    address = f"ws://127.0.0.1:{port}/chat/slow?name="
    async with websockets.connect(address + "talker") as talker, websockets.connect(address + "listener") as listener:
        # The talker waits until it has heard itself, so that it is not slow.
        for turn in range(2000):
            await talker.send(f"{turn} " + "x" * 4000)
            for member in (talker, listener):
                while not (await asyncio.wait_for(member.recv(), 60)).startswith(f"talker: {turn} "):
                    pass
        # What the kernel holds of it, and then the end.
        sloth.settimeout(60)
        heard = 0
        while piece := sloth.recv(1 << 16):
            heard += len(piece)
        assert heard < 2000 * 4000
        print("all is well")


asyncio.run(main(sys.argv[1]))
