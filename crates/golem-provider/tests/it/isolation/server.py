# What a host in the test's world offers: server.py ADDRESS PORT... ; port 53 answers every name with 198.51.100.10,
# over UDP and TCP; other ports greet whoever connects. Says "up" when it listens, and prints what else came to
# port 53.
import socket
import struct
import sys
import threading

ANSWER = socket.inet_aton("198.51.100.10")


def dns(question):
    """An answer to `question`; none where it is no question."""
    if len(question) < 17 or question[2] & 0x80 or struct.unpack("!H", question[4:6])[0] != 1:
        return None
    end = 12
    while end < len(question) and question[end]:
        end += question[end] + 1
    end += 5
    if end > len(question):
        return None
    kind = struct.unpack("!H", question[end - 4:end - 2])[0]
    records = b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4" + ANSWER if kind == 1 else b""
    head = question[:2] + b"\x81\x80" + struct.pack("!4H", 1, 1 if records else 0, 0, 0)
    return head + question[12:end] + records


def udp(listener):
    while True:
        data, sender = listener.recvfrom(4096)
        answer = dns(data)
        if answer:
            listener.sendto(answer, sender)
        else:
            print("nonsense on UDP 53", data[:80], flush=True)


def tcp(listener, port):
    while True:
        stream, _ = listener.accept()
        threading.Thread(target=greet, args=(stream, port), daemon=True).start()


def greet(stream, port):
    with stream:
        stream.settimeout(5)
        try:
            if port != 53:
                stream.sendall(b"hello\r\n")
                stream.recv(4096)
                return
            size = struct.unpack("!H", stream.recv(2))[0]
            answer = dns(stream.recv(size))
            if answer:
                stream.sendall(struct.pack("!H", len(answer)) + answer)
            else:
                print("nonsense on TCP 53", flush=True)
        except (OSError, struct.error):
            pass


address = sys.argv[1]
for port in map(int, sys.argv[2:]):
    listener = socket.create_server((address, port), backlog=64)
    threading.Thread(target=tcp, args=(listener, port), daemon=True).start()
    if port == 53:
        names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        names.bind((address, port))
        threading.Thread(target=udp, args=(names,), daemon=True).start()
print("up", flush=True)
threading.Event().wait()
