"""The payment contract of version 4, driven by web3.py with the published ABI alone (golem-streaming-abi 0.1.2).

Its only argument is a JSON text: rpc, contract, token, provider (a key), renter (a key that has tokens). Prints a line of
JSON for each step it took: {"step", "remark"}; ends with 1 at the first that fails.
"""

import json
import sys
import traceback

from eth_account import Account
from eth_account.messages import encode_typed_data
from golem_streaming_abi import STREAM_PAYMENT_ABI
from web3 import Web3
from web3.exceptions import ContractLogicError, Web3Exception

settings = json.loads(sys.argv[1])
web3 = Web3(Web3.HTTPProvider(settings["rpc"]))
provider = Account.from_key(settings["provider"])
renter = Account.from_key(settings["renter"])
payment = web3.eth.contract(address=settings["contract"], abi=STREAM_PAYMENT_ABI)
token = web3.eth.contract(
    address=settings["token"],
    abi=[
        {"type": "function", "name": name, "stateMutability": kind, "inputs": [{"name": "", "type": i} for i in inputs],
         "outputs": [{"name": "", "type": output}]}
        for name, kind, inputs, output in [
            ("balanceOf", "view", ["address"], "uint256"),
            ("approve", "nonpayable", ["address", "uint256"], "bool"),
        ]
    ],
)
RATE, HOUR, DONATION = 1000, 3600, 150
QUOTE = "address recipient, uint256 providerDeposit, uint128 providerRatePerSecond, bytes32 leaseId, bytes32 termsHash, \
uint128 quoteExpiresAt"
MEMBERS = [
    "streamId", "sender", "recipient", "token", "providerDeposit", "donationDeposit", "totalDeposit",
    "providerRatePerSecond", "donationBps", "donationRecipient", "startTime", "stopTime", "leaseId", "termsHash",
]
steps = []


def step(walk):
    steps.append(walk)
    return walk


def send(account, call):
    transaction = call.build_transaction({
        "from": account.address, "nonce": web3.eth.get_transaction_count(account.address), "gas": 450_000,
        "gasPrice": web3.eth.gas_price,
    })
    signed = account.sign_transaction(transaction)
    receipt = web3.eth.wait_for_transaction_receipt(web3.eth.send_raw_transaction(signed.raw_transaction), timeout=60)
    assert receipt.status == 1, receipt
    return receipt


def events(receipt, event):
    """The members of the only event of this kind in `receipt`."""
    from web3.logs import DISCARD

    (found,) = event().process_receipt(receipt, errors=DISCARD)
    return found["args"]


def refused(call, account, reason):
    try:
        call.call({"from": account.address})
    except (ContractLogicError, Web3Exception) as error:
        assert reason in str(error), error
    else:
        raise AssertionError(f"it is not refused: {reason}")


def quote(lease):
    terms = {
        "recipient": provider.address, "providerDeposit": RATE * HOUR, "providerRatePerSecond": RATE,
        "leaseId": lease.to_bytes(32, "big"), "termsHash": Web3.keccak(text="terms"),
        "quoteExpiresAt": web3.eth.get_block("latest")["timestamp"] + 900,
    }
    types = {"LeaseQuote": [dict(zip(("type", "name"), field.split())) for field in QUOTE.split(", ")]}
    domain = {"name": "GolemStreamPayment", "version": "4", "chainId": web3.eth.chain_id,
              "verifyingContract": settings["contract"]}
    signed = provider.sign_message(encode_typed_data(domain, types, terms))
    return terms, signed.signature


def opening(terms, signature):
    return payment.functions.createStream(
        terms["recipient"], terms["providerDeposit"], terms["providerRatePerSecond"], DONATION, terms["leaseId"],
        terms["termsHash"], terms["quoteExpiresAt"], signature)


terms, signature = quote(1)
stream = None


@step
def createStream():
    global stream
    send(renter, token.functions.approve(settings["contract"], 10 * RATE * HOUR))
    refused(opening({**terms, "providerDeposit": RATE * HOUR + 1}, signature), renter, "bad provider signature")
    receipt = send(renter, opening(terms, signature))
    told = events(receipt, payment.events.StreamCreated)
    assert sorted(told) == sorted(MEMBERS), sorted(told)
    stream = told["streamId"]
    assert payment.functions.nextStreamId().call() == stream
    assert told["totalDeposit"] == RATE * HOUR + RATE * HOUR * DONATION // 10_000
    assert payment.functions.usedLeaseIds(terms["leaseId"]).call() is True
    refused(opening(terms, signature), renter, "lease used")
    return f"stream {stream}; its event has fourteen members; the lease is used up"


@step
def streams():
    names = [output["name"] for entry in STREAM_PAYMENT_ABI if entry.get("name") == "streams"
             for output in entry["outputs"]]
    read = dict(zip(names, payment.functions.streams(stream).call()))
    assert read["sender"] == renter.address and read["recipient"] == provider.address
    assert read["providerDeposit"] == RATE * HOUR and read["stopTime"] - read["startTime"] == HOUR
    assert read["leaseId"] == terms["leaseId"] and read["termsHash"] == terms["termsHash"]
    assert payment.functions.streamState(stream).call() == "active"
    assert payment.functions.streamState(stream + 1).call() == "terminated", "one that never was"
    return "fourteen words; state active"


@step
def topUp():
    told = events(send(renter, payment.functions.topUp(stream, RATE * 60)), payment.events.ToppedUp)
    assert told["totalAmount"] == told["providerAmount"] + told["donationAmount"] and told["providerAmount"] == RATE * 60
    refused(payment.functions.topUp(stream, 1), provider, "not sender")
    return "a minute more"


@step
def withdraw():
    web3.provider.make_request("evm_increaseTime", [600])
    web3.provider.make_request("evm_mine", [])
    before = token.functions.balanceOf(provider.address).call()
    told = events(send(provider, payment.functions.withdraw(stream)), payment.events.Withdraw)
    assert token.functions.balanceOf(provider.address).call() - before == told["providerAmount"] >= 600 * RATE
    assert told["donationAmount"] == told["providerAmount"] * DONATION // 10_000
    return f"{told['providerAmount']} to the provider, {told['donationAmount']} donated"


@step
def terminate():
    before = token.functions.balanceOf(renter.address).call()
    told = events(send(renter, payment.functions.terminate(stream)), payment.events.Terminated)
    assert token.functions.balanceOf(renter.address).call() - before == told["senderRefund"] > 0
    assert payment.functions.streamState(stream).call() == "terminated"
    refused(payment.functions.withdraw(stream), provider, "no-stream")
    return f"{told['senderRefund']} back to the renter"


@step
def expired():
    """Thirty seconds of grace, in which a top-up is taken, and then none."""
    send(renter, opening(*quote(2)))
    second = payment.functions.nextStreamId().call()
    for wait, state in [(HOUR, "grace"), (31, "expired")]:
        web3.provider.make_request("evm_increaseTime", [wait])
        web3.provider.make_request("evm_mine", [])
        assert payment.functions.streamState(second).call() == state, state
    refused(payment.functions.topUp(second, RATE), renter, "stream expired")
    return "grace for 30 s, then no top-up"


for walk in steps:
    try:
        print(json.dumps({"step": walk.__name__, "remark": walk()}), flush=True)
    except Exception:
        print(json.dumps({"step": walk.__name__, "failed": traceback.format_exc()}), flush=True)
        sys.exit(1)
