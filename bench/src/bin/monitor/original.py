"""Runs one tick of the original's own stream monitor over the streams 1 to N, and prints its seconds of CPU."""
import asyncio
import sys
import time

from provider.payments.blockchain_service import StreamPaymentReader
from provider.payments.monitor import StreamMonitor

url, contract, count = sys.argv[1], sys.argv[2], int(sys.argv[3])


class Streams:
    """As many VMs as are asked for; the second look at them ends the benchmark."""

    ticks = 0
    began = 0.0

    async def all_items(self):
        if Streams.ticks:
            print(time.process_time() - Streams.began)
            sys.stdout.flush()
            raise asyncio.CancelledError
        Streams.ticks += 1
        Streams.began = time.process_time()
        return {f"vm-{number}": number for number in range(1, count + 1)}

    async def remove(self, vm_id):
        raise SystemExit(f"the original gave {vm_id} up")


class Vms:
    async def delete_vm(self, vm_id):
        raise SystemExit(f"the original deleted {vm_id}")


reader = StreamPaymentReader(url, contract)
settings = {"STREAM_MONITOR_ENABLED": True, "STREAM_MONITOR_INTERVAL_SECONDS": 0}
monitor = StreamMonitor(stream_map=Streams(), vm_service=Vms(), reader=reader, client=None, settings=settings)
asyncio.run(monitor._run())
