# A router that misbehaves: how, the address that it says it has, and how long its leases last at most.
import math, socket, struct, sys, threading, time
mode, address, lease = sys.argv[1:]
ends = {}
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(('192.168.7.1', 5351))

def mapping(request):
    if mode == 'silent':
        return None
    if mode == 'garbage':
        return b'\xff' * 28
    if mode == 'huge':
        return b'\x00' * 60000
    if request[0] == 2:
        return bytes([0, 0x80, 0, 1, 0, 0, 0, 1])
    head = bytes([0, 0x80 + request[1], 0, 2 if mode == 'refuses' else 0, 0, 0, 0, 1])
    if request[1] == 0:
        return head + socket.inet_aton(address)
    inner, outer, life = struct.unpack('>HHI', request[4:12])
    life = min(life, int(lease))
    renewed = time.monotonic() < ends.get(inner, 0) < math.inf
    print('unmap' if life == 0 else 'renew' if renewed else 'map', inner, flush=True)
    if life == 0 and mode == 'slow':
        time.sleep(0.7)
    if life == 0 and mode == 'keeps' and inner == 50803:
        return head[:3] + b'\2' + head[4:] + request[4:]
    ends[inner] = time.monotonic() + life if life else math.inf
    given = 0 if life == 0 else outer + 1000 if mode == 'another' else outer
    return head + struct.pack('>HHI', inner, given, life)

def searched():
    search = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    search.bind(('', 1900))
    member = socket.inet_aton('239.255.255.250') + socket.inet_aton('192.168.7.1')
    search.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    while True:
        _, caller = search.recvfrom(2000)
        reply = {'garbage': b'\xff\xfe', 'huge': b'HTTP/1.1 200 OK\r\nLOCATION: http://192.168.7.1:5000/\r\n\r\n'}
        if mode in reply:
            search.sendto(reply[mode], caller)

def endless():
    server = socket.create_server(('192.168.7.1', 5000))
    while True:
        client, _ = server.accept()
        try:
            client.sendall(b'HTTP/1.1 200 OK\r\n\r\n<a>')
            while True:
                client.sendall(b'<a>' * 10000)
        except OSError:
            pass

def lapses():
    while True:
        time.sleep(1)
        for inner, end in list(ends.items()):
            if end < time.monotonic():
                ends[inner] = math.inf
                print('lapsed', inner, flush=True)

for task in searched, endless, lapses:
    threading.Thread(target=task, daemon=True).start()
print('up', flush=True)
while True:
    request, caller = udp.recvfrom(2000)
    answer = mapping(request)
    if answer:
        udp.sendto(answer, caller)
