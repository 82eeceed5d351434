"""What a client of python's websockets gets from our server: client.py PORT."""
import asyncio
import sys

import websockets


async def refused(address, code, send):
    async with websockets.connect(address, max_size=None) as socket:
        await send(socket)
        try:
            while True:
                await socket.recv()
        except websockets.ConnectionClosed:
            assert socket.close_code == code, (code, socket.close_code)


async def main(port):
    address = f"ws://127.0.0.1:{port}/"
    async with websockets.connect(address, subprotocols=["unknown", "chat"], max_size=None) as socket:
        assert socket.subprotocol == "chat"
        for message in ["", "hello", "\u00e4\u20ac\U0001f600", b"", b"\xff\x00", "x" * 70000, b"y" * 10_000_000]:
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send(["frag", "men", "", "ted"])
        assert await socket.recv() == "fragmented"
        await socket.send([b"a" * 100_000, b"b" * 100_000])
        assert await socket.recv() == b"a" * 100_000 + b"b" * 100_000
        for payload in [b"", b"p" * 125]:
            await (await socket.ping(payload))
    assert socket.close_code == 1000
    async with websockets.connect(address) as socket:
        await socket.send("close 4321")
        await socket.wait_closed()
        assert (socket.close_code, socket.close_reason) == (4321, "as you wish")
    await refused(address, 1011, lambda socket: socket.send("throw"))
    await refused(address + "small", 1009, lambda socket: socket.send("x" * 101))
    await refused(address, 1009, lambda socket: socket.send(b"x" * (21 << 20)))
    # It answers our pings by itself.
    async with websockets.connect(address + "pings") as socket:
        await asyncio.sleep(1)
        await socket.send("still there")
        assert await socket.recv() == "still there"
    print("all is well")


asyncio.run(main(sys.argv[1]))
