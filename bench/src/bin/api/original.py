"""Runs the original provider's API for the benchmark, with everything off that needs the internet.

That is to its advantage: its own start would also wait for a chain, a faucet and a price feed.
"""
import sys

import psutil
import uvicorn


async def nothing(*_args, **_kwargs):
    return None


class Plenty:
    """A host with room for every VM of the benchmark; the real one has two cores."""

    available = total = free = 1 << 50
    percent = 1.0


psutil.cpu_count = lambda *_args, **_kwargs: 4096
psutil.virtual_memory = lambda: Plenty
psutil.disk_usage = lambda _path: Plenty

from provider.discovery.service import AdvertisementService  # noqa: E402
from provider.security.faucet import FaucetClient  # noqa: E402
from provider.utils.pricing import PricingAutoUpdater  # noqa: E402

AdvertisementService.start = AdvertisementService.stop = AdvertisementService.trigger_update = nothing
FaucetClient.get_funds = nothing
PricingAutoUpdater.start = nothing

from provider.main import app  # noqa: E402

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical", access_log=False)
