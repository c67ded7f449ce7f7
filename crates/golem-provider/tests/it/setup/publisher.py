# A proxy that is itself whoever is asked for through it: a publisher of images, with their checksums. Of an image it sends one half,
# and the other once the file `go` is there; where there is a file `gone`, it has none.
import hashlib, http.server, os, ssl, sys, time
folder = sys.argv[1]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f'{folder}/cert.pem', f'{folder}/key.pem')
image = b'QFI\xfb' + (3).to_bytes(4, 'big') + bytes(16) + (2 << 30).to_bytes(8, 'big')
image += bytes((2 << 20) - len(image))
names = [f'ubuntu-22.04-server-cloudimg-{machine}.img' for machine in ('amd64', 'arm64')]
listed = ''.join(f'{hashlib.sha256(image).hexdigest()} *{name}\n' for name in names).encode()

class Publisher(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        here = not os.path.exists(f'{folder}/gone')
        answer = listed if self.path.endswith('/SHA256SUMS') else image
        self.send_response(200 if here else 404)
        self.send_header('Content-Length', str(len(answer) if here else 0))
        self.end_headers()
        if here:
            self.wfile.write(answer[:len(answer) // 2])
            while answer is image and not os.path.exists(f'{folder}/go'):
                time.sleep(0.05)
            self.wfile.write(answer[len(answer) // 2:])

    def log_message(self, *words):
        pass

class Proxy(http.server.BaseHTTPRequestHandler):
    def do_CONNECT(self):
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        Publisher(context.wrap_socket(self.connection, server_side=True), self.client_address, self.server)

    def log_message(self, *words):
        pass

server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Proxy)
print(server.server_port, flush=True)
server.serve_forever()
