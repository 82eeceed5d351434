"""Many clients at the same time, each of which sends and gets: crowd.py PORT COUNT."""
import asyncio
import sys

import websockets


async def one(address, number, ready, everybody):
    async with websockets.connect(address, compression=None, open_timeout=60) as socket:
        ready.append(number)
        if len(ready) == everybody[1]:
            everybody[0].set()
        await everybody[0].wait()
        for turn in range(5):
            words = f"{number} {turn}"
            await socket.send(words)
            assert await socket.recv() == words


async def main(port, count):
    everybody = [asyncio.Event(), count]
    ready = []
    await asyncio.gather(*(one(f"ws://127.0.0.1:{port}/", number, ready, everybody) for number in range(count)))
    assert len(ready) == count
    print("all is well")


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
