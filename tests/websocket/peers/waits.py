"""A client that waits for the server's end: waits.py PORT."""
import asyncio
import sys

import websockets


async def main(port):
    async with websockets.connect(f"ws://127.0.0.1:{port}/") as socket:
        print("ready", flush=True)
        await socket.wait_closed()
        print("closed with", socket.close_code)


asyncio.run(main(sys.argv[1]))
