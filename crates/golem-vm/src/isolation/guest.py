# Runs in the throw-away guest, as root, with nothing but Python's own library: tries what the plan says and
# prints one JSON line for each attempt, {"id": N, "outcome": WORD, "detail": TEXT}.
#
# Outcomes: "open" (a connection was made), "answered" (something came back), "none" (refused, unreachable or
# silent), "sent" (a forged packet went out; only whoever catches it knows more), "error" (could not be tried).
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time

PATIENCE = 4.0
AT_ONCE = 64
lock = threading.Lock()


def say(number, outcome, detail=""):
    with lock:
        print(json.dumps({"id": number, "outcome": outcome, "detail": str(detail)[:200]}), flush=True)


def device():
    """The guest's network device: that of the default route, else the first that is no loopback."""
    with open("/proc/net/route") as routes:
        for line in routes.readlines()[1:]:
            words = line.split()
            if words[1] == "00000000":
                return words[0]
    names = sorted(name for name in os.listdir("/sys/class/net") if name != "lo")
    return names[0] if names else None


def gateway():
    with open("/proc/net/route") as routes:
        for line in routes.readlines()[1:]:
            words = line.split()
            if words[1] == "00000000":
                return socket.inet_ntoa(struct.pack("=I", int(words[2], 16)))
    return None


def own_mac(name):
    with open("/sys/class/net/%s/address" % name) as file:
        return bytes.fromhex(file.read().strip().replace(":", ""))


def own_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))
        return probe.getsockname()[0]


def router_mac():
    """The hardware address of the next hop, or everybody's."""
    hop = gateway()
    with open("/proc/net/arp") as table:
        for line in table.readlines()[1:]:
            words = line.split()
            if words[0] == hop and words[3] != "00:00:00:00:00:00":
                return bytes.fromhex(words[3].replace(":", ""))
    return b"\xff" * 6


def target(step, kind):
    """The socket address of a step, scoped to the guest's device where that is needed."""
    address, port = step["address"], step.get("port", 0)
    if ":" in address:
        scope = socket.if_nametoindex(device()) if address.lower().startswith(("fe8", "ff")) else 0
        return socket.AF_INET6, (address, port, 0, scope)
    return socket.AF_INET, (address, port)


def tcp(step):
    family, where = target(step, socket.SOCK_STREAM)
    with socket.socket(family, socket.SOCK_STREAM) as conversation:
        conversation.settimeout(PATIENCE)
        try:
            conversation.connect(where)
        except (OSError, socket.timeout) as error:
            return "none", error
        detail = ""
        try:
            conversation.sendall(step["token"].encode() + b"\r\n\r\n")
            conversation.settimeout(1.0)
            detail = conversation.recv(64)
        except (OSError, socket.timeout):
            pass
        return "open", detail


def question(name):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!6H", random.randrange(65536), 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def udp(step):
    payload = step["token"].encode()
    payload += b"." * max(0, step.get("size", 0) - len(payload))
    if step.get("question"):
        payload = question(step["question"])
    family, where = target(step, socket.SOCK_DGRAM)
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        # Traps do not answer; who is asked something, may.
        sender.settimeout(PATIENCE / 2 if step.get("question") else 0.7)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if family == socket.AF_INET:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 4)
        for _attempt in range(2):
            try:
                sender.sendto(payload, where)
                return "answered", sender.recvfrom(512)[0][:32]
            except socket.timeout:
                continue
            except OSError:
                continue
        return "none", ""


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def icmp(step):
    mark = random.randrange(65536)
    body = step["token"].encode()
    head = struct.pack("!BBHHH", 8, 0, 0, mark, 1)
    head = struct.pack("!BBHHH", 8, 0, checksum(head + body), mark, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        end = time.monotonic() + PATIENCE
        try:
            raw.sendto(head + body, (step["address"], 0))
        except OSError as error:
            return "none", error
        while time.monotonic() < end:
            raw.settimeout(max(0.1, end - time.monotonic()))
            try:
                packet, (source, _) = raw.recvfrom(2048)
            except (OSError, socket.timeout):
                break
            answer = packet[(packet[0] & 15) * 4:]
            if answer[:1] == b"\0" and answer[4:6] == struct.pack("!H", mark) and source == step["address"]:
                return "answered", source
        return "none", ""


def ip_packet(protocol, source, destination, payload, identity, offset=0, more=False):
    def head(total):
        return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), identity, (0x2000 if more else 0) | offset >> 3,
                           64, protocol, total, socket.inet_aton(source), socket.inet_aton(destination))
    return head(checksum(head(0))) + payload


def transport(step, source):
    """The UDP datagram or TCP greeting of a forged packet, with a sum that a receiver believes."""
    port, destination = step["port"], step["address"]
    local = random.randrange(20000, 60000)
    if step["protocol"] == "udp":
        body = step["token"].encode()
        body += b"." * max(0, step.get("size", 0) - len(body))
        data = struct.pack("!HHHH", local, port, 8 + len(body), 0) + body
        number, place = socket.IPPROTO_UDP, 6
    else:
        data = struct.pack("!HHIIBBHHH", local, port, random.getrandbits(32), 0, 5 << 4, 2, 64240, 0, 0)
        number, place = socket.IPPROTO_TCP, 16
    pseudo = socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack("!BBH", 0, number, len(data))
    total = checksum(pseudo + data) or 0xFFFF
    return number, data[:place] + struct.pack("!H", total) + data[place + 2:]


def forged(step):
    """A packet past the guest's own network stack: any hardware address, any sender, in pieces if wanted."""
    name = device()
    mac = bytes.fromhex(step["mac"].replace(":", "")) if step.get("mac") else own_mac(name)
    source = step.get("source") or own_address()
    number, data = transport(step, source)
    identity = random.randrange(65536)
    if step.get("pieces"):
        cut = 24
        packets = [
            ip_packet(number, source, step["address"], data[:cut], identity, 0, True),
            ip_packet(number, source, step["address"], data[cut:], identity, cut, False),
        ]
    else:
        packets = [ip_packet(number, source, step["address"], data, identity)]
    to = bytes.fromhex(step["to"].replace(":", "")) if step.get("to") else router_mac()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((name, 0))
        for _attempt in range(2):
            for packet in packets:
                wire.send(to + mac + b"\x08\x00" + packet)
            time.sleep(0.2)
    return "sent", ""


def link_local(mac):
    return b"\xfe\x80" + b"\0" * 6 + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]


def icmp6_frame(name, kind, body, group):
    mac = own_mac(name)
    source, destination = link_local(mac), socket.inet_pton(socket.AF_INET6, group)
    message = struct.pack("!BBH", kind, 0, 0) + body
    pseudo = source + destination + struct.pack("!IHBB", len(message), 0, 0, 58)
    message = struct.pack("!BBH", kind, 0, checksum(pseudo + message)) + body
    head = struct.pack("!IHBB", 6 << 28, len(message), 58, 255) + source + destination
    return b"\x33\x33" + destination[12:] + mac + b"\x86\xdd" + head + message


def solicit(step):
    """Asks for an IPv6 router and listens whether one answers, or had answered before."""
    name = device()
    with open("/proc/net/ipv6_route") as routes:
        for line in routes:
            words = line.split()
            if words[0] == "0" * 32 and words[1] == "00" and words[-1] == name:
                return "answered", "the guest has an IPv6 route to everywhere"
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD)) as wire:
        wire.bind((name, 0x86DD))
        own = own_mac(name)
        wire.send(icmp6_frame(name, 133, b"\0" * 4, "ff02::2"))
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            wire.settimeout(max(0.1, end - time.monotonic()))
            try:
                frame = wire.recv(2048)
            except (OSError, socket.timeout):
                break
            if frame[6:12] != own and len(frame) > 54 and frame[20] == 58 and frame[54] == 134:
                return "answered", "a router advertisement came"
    return "none", ""


def advertise(step):
    """Says to everybody on the link that the guest is an IPv6 router."""
    name = device()
    token = step["token"].encode()[:46].ljust(46, b".")
    body = struct.pack("!BBHII", 64, 0, 1800, 0, 0) + b"\xfd\x06" + token
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((name, 0))
        for _attempt in range(2):
            wire.send(icmp6_frame(name, 134, body, "ff02::1"))
            time.sleep(0.2)
    return "sent", ""


def resolve(step):
    end = time.monotonic() + 4 * PATIENCE
    while True:
        try:
            found = socket.getaddrinfo(step["name"], None, socket.AF_INET, socket.SOCK_STREAM)
            return "answered", found[0][4][0]
        except OSError as error:
            if time.monotonic() > end:
                return "none", error
            time.sleep(1)


WAYS = {
    "tcp": tcp, "udp": udp, "icmp": icmp, "forged": forged, "solicit": solicit, "advertise": advertise,
    "resolve": resolve,
}


def main(plan):
    # Should whoever made this guest vanish, it ends by itself.
    subprocess.Popen(["shutdown", "--no-wall", "-P", "+30"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                     stderr=subprocess.DEVNULL)
    steps = iter(plan)

    def work():
        while True:
            with lock:
                step = next(steps, None)
            if step is None:
                return
            try:
                outcome, detail = WAYS[step["way"]](step)
            except Exception as error:  # a probe that cannot be made is told, and the others go on
                outcome, detail = "error", "%s: %s" % (type(error).__name__, error)
            say(step["id"], outcome, detail)

    workers = [threading.Thread(target=work) for _ in range(min(AT_ONCE, len(plan)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
