"""Small peers for the testbed, standard library only: servers that are hard to misconfigure, and clients that say
in one line of JSON what happened.

  http PORT NAME              HTTP/1.1 server on both address families; answers with NAME and the request line
  echo tcp|udp PORT           sends back what it gets
  sink PORT                   reads to the end of each connection and answers with length and SHA-256
  send HOST PORT BYTES        pushes BYTES to a sink and compares the digest
  chat HOST PORT SECONDS      one echo connection, a line every 20 ms; tells how long it lived and how it ended
  ask tcp|udp HOST PORT SIZE  one message of SIZE bytes to an echo server
  sctp HOST PORT              one INIT chunk with a right CRC32c over a raw socket
  hear-sctp SECONDS           waits for such a chunk and checks its CRC32c
  spoof SOURCE HOST PORT      one UDP datagram with a forged IPv4 source address over a raw socket
"""

import errno
import hashlib
import http.server
import json
import os
import socket
import socketserver
import struct
import sys
import threading
import time


def dual_stack(kind, port):
    sock = socket.socket(socket.AF_INET6, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", port))
    return sock


def connect(host, port, limit):
    return socket.create_connection((host, int(port)), timeout=limit)


def say(**facts):
    print(json.dumps(facts), flush=True)


def reason(error):
    if isinstance(error, (socket.timeout, TimeoutError)):
        return "timeout"
    return errno.errorcode.get(getattr(error, "errno", None), type(error).__name__)


def serve_http(port, name):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = f"{name}: {self.command} {self.path}\n".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = answer

    class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
        address_family = socket.AF_INET6
        daemon_threads = True

        def server_bind(self):
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            socketserver.TCPServer.server_bind(self)
            self.server_name, self.server_port = name, int(port)

    Server(("::", int(port)), Handler).serve_forever()


def serve_tcp(port, talk):
    listener = dual_stack(socket.SOCK_STREAM, int(port))
    listener.listen(256)

    def guarded(conn):
        try:
            with conn:
                talk(conn)
        except OSError:
            pass

    while True:
        conn, _ = listener.accept()
        threading.Thread(target=guarded, args=(conn,), daemon=True).start()


def echo_tcp(conn):
    while data := conn.recv(65536):
        conn.sendall(data)


def sink(conn):
    digest, total = hashlib.sha256(), 0
    while data := conn.recv(1 << 20):
        digest.update(data)
        total += len(data)
    conn.sendall(f"{total} {digest.hexdigest()}".encode())


def echo_udp(port):
    sock = dual_stack(socket.SOCK_DGRAM, int(port))
    while True:
        data, peer = sock.recvfrom(65536)
        sock.sendto(data, peer)


def send(host, port, size):
    left, digest = int(size), hashlib.sha256()
    block = os.urandom(1 << 20)
    started = time.monotonic()
    try:
        with connect(host, port, 20) as conn:
            while left:
                part = block[: min(left, len(block))]
                conn.sendall(part)
                digest.update(part)
                left -= len(part)
            conn.shutdown(socket.SHUT_WR)
            answer = b""
            while data := conn.recv(4096):
                answer += data
        same = answer.decode() == f"{int(size)} {digest.hexdigest()}"
        say(ok=same, bytes=int(size), seconds=time.monotonic() - started, end="ok" if same else "different bytes")
    except OSError as error:
        say(ok=False, bytes=int(size) - left, seconds=time.monotonic() - started, end=reason(error))


def chat(host, port, seconds):
    started, sent, received = time.monotonic(), 0, 0
    end, gap = "ok", 0.0
    try:
        with connect(host, port, 5) as conn:
            say(connected=True)
            while time.monotonic() - started < float(seconds):
                line, asked = f"{sent:08}\n".encode(), time.monotonic()
                conn.sendall(line)
                sent += 1
                answer = b""
                while len(answer) < len(line):
                    data = conn.recv(64)
                    if not data:
                        raise ConnectionError("closed")
                    answer += data
                if answer != line:
                    raise ValueError("different bytes")
                received += 1
                gap = max(gap, time.monotonic() - asked)
                time.sleep(0.02)
    except (OSError, ValueError) as error:
        end = reason(error)
    say(ok=end == "ok", sent=sent, received=received, lasted=time.monotonic() - started, longest=gap, end=end)


def ask(kind, host, port, size):
    data = os.urandom(int(size))
    try:
        if kind == "tcp":
            with connect(host, port, 2) as conn:
                conn.sendall(data)
                answer = b""
                while len(answer) < len(data) and (part := conn.recv(65536)):
                    answer += part
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.settimeout(2)
                sock.connect((host, int(port)))
                sock.send(data)
                answer = sock.recv(65536)
        say(ok=answer == data, end="ok" if answer == data else "different bytes")
    except OSError as error:
        say(ok=False, end=reason(error))


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def sctp(host, port):
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 0x5EED, 65535, 1, 1, 1)
    common = struct.pack("!HHI", 40000, int(port), 0)
    crc = struct.pack("<I", crc32c(common + b"\0\0\0\0" + chunk))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 132) as sock:
        sock.sendto(common + crc + chunk, (host, 0))
    say(ok=True)


def hear_sctp(seconds):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 132) as sock:
        sock.settimeout(float(seconds))
        say(listening=True)
        try:
            packet = sock.recv(2048)
        except OSError as error:
            say(ok=False, end=reason(error))
            return
    head = (packet[0] & 15) * 4
    body = packet[head:]
    want = struct.pack("<I", crc32c(body[:8] + b"\0\0\0\0" + body[12:]))
    say(ok=body[8:12] == want, port=struct.unpack("!H", body[2:4])[0], end="ok" if body[8:12] == want else "bad CRC32c")


def spoof(source, host, port):
    udp = struct.pack("!HHHH", 40000, int(port), 8 + 6, 0) + b"forged"
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(host)
    )
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        sock.sendto(head + udp, (host, 0))
    say(ok=True)


def main(argv):
    match argv:
        case ["http", port, name]:
            serve_http(port, name)
        case ["echo", "tcp", port]:
            serve_tcp(port, echo_tcp)
        case ["echo", "udp", port]:
            echo_udp(port)
        case ["sink", port]:
            serve_tcp(port, sink)
        case ["send", host, port, size]:
            send(host, port, size)
        case ["chat", host, port, seconds]:
            chat(host, port, seconds)
        case ["ask", kind, host, port, size]:
            ask(kind, host, port, size)
        case ["sctp", host, port]:
            sctp(host, port)
        case ["hear-sctp", seconds]:
            hear_sctp(seconds)
        case ["spoof", source, host, port]:
            spoof(source, host, port)
        case _:
            sys.exit(__doc__)


main(sys.argv[1:])
