"""Clients and servers that the L7 tests need and that no package has; standard library only.

  serve PORT LOG                 HTTP/1.1 server of the standard library; LOG gets a line for each request it executes
  raw HOST PORT WAIT TEXT...     sends each text (latin-1, a pause after each), then shows what comes within WAIT seconds
  corpus HOST PORT FILE          the same for each of a list of lists of texts in a JSON file, many at a time, and
                                 again for those without an answer
  steps HOST PORT FLAG STEP...   one connection, a request at a time: before the n-th it waits for the
                                 file FLAG.n; STEP is METHOD PATH; a line of JSON for each
  from SOURCE HOST PORT PATH     a GET of PATH from the port SOURCE, ended by a reset, so that SOURCE is free at once
  many HOST PORT COUNT FLAG      COUNT connections, an allowed and a refused request on each, then idle until FLAG
                                 exists, then both again
  body HOST PORT METHOD PATH BYTES NEXT
                                 a request with a body of BYTES zeros, sent whole whatever is answered, then GET NEXT
  unasked SOURCE HOST NAME ADDRESS
                                 DNS answers from port 53 of SOURCE that nobody asked for, to many ports of HOST
"""

import collections
import concurrent.futures
import errno
import http.server
import json
import os
import resource
import select
import socket
import socketserver
import struct
import sys
import time


def say(**facts):
    print(json.dumps(facts), flush=True)


def reason(error):
    if isinstance(error, (socket.timeout, TimeoutError)):
        return "timeout"
    return errno.errorcode.get(getattr(error, "errno", None), type(error).__name__)


def serve(port, log):
    lines = open(log, "a", buffering=1)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5

        def parse_request(self):
            good = super().parse_request()
            if good:
                lines.write(f"{self.command} {self.path}\n")
                length = self.headers.get("Content-Length")
                self.rfile.read(int(length) if length and length.isdigit() else 0)
                self.send_response(200)
                self.send_header("Content-Length", "3")
                self.end_headers()
                self.wfile.write(b"ok\n")
                # Each method is as good as another: nothing is left to do.
                self.command = "DONE"
            return good

        def do_DONE(self):
            pass

        def log_message(self, *_):
            pass

    class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
        address_family = socket.AF_INET6
        daemon_threads = True
        request_queue_size = 256

    Server(("::", int(port)), Handler).serve_forever()


def exchange(host, port, texts, wait, pause=0.02):
    got, end = b"", "silence"
    try:
        with socket.create_connection((host, int(port)), timeout=5) as conn:
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                for number, text in enumerate(texts):
                    if number:
                        time.sleep(pause)
                    conn.sendall(text.encode("latin-1"))
            except OSError as error:
                # What was answered before the end counts all the same.
                end = reason(error)
            conn.settimeout(wait)
            while data := conn.recv(65536):
                got += data
            end = "closed"
    except (socket.timeout, TimeoutError):
        end = end if got or end != "silence" else "timeout"
    except OSError as error:
        end = reason(error)
    return got, end


def raw(host, port, wait, texts):
    got, end = exchange(host, port, texts, float(wait))
    say(data=got.decode("latin-1"), end=end)


def corpus(host, port, file):
    with open(file, encoding="utf-8") as source:
        cases = json.load(source)
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        results = list(pool.map(lambda texts: exchange(host, port, texts, 0.6, 0.003), cases))
        # A machine that stood still for a moment let all of its timers expire. Who is silent twice was not answered.
        silent = [number for number, result in enumerate(results) if result == (b"", "timeout")]
        again = pool.map(lambda number: exchange(host, port, cases[number], 2, 0.003), silent)
        for number, result in zip(silent, list(again), strict=True):
            results[number] = result
    counts = collections.Counter(twice=len(silent))
    for got, end in results:
        status = got[9:12].decode("latin-1") if got.startswith(b"HTTP/1.") else "none"
        counts[f"{status} {end}"] += 1
    say(cases=len(cases), **counts)


class Reader:
    """Responses with a Content-Length, one at a time."""

    def __init__(self, conn):
        self.conn, self.data = conn, b""

    def more(self):
        data = self.conn.recv(65536)
        if not data:
            raise ConnectionError("closed")
        self.data += data

    def response(self):
        while b"\r\n\r\n" not in self.data:
            self.more()
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, value = line.split(b":", 1)
            if name.lower() == b"content-length":
                length = int(value)
        while len(self.data) < length:
            self.more()
        body, self.data = self.data[:length], self.data[length:]
        return int(head[9:12]), body.decode("latin-1")


def steps(host, port, flag, asked):
    with socket.create_connection((host, int(port)), timeout=5) as conn:
        reader = Reader(conn)
        say(connected=True, port=conn.getsockname()[1])
        for number, step in enumerate(asked):
            started = time.monotonic()
            while number and not os.path.exists(f"{flag}.{number}"):
                if time.monotonic() - started > 30:
                    say(end="nobody says go")
                    return
                time.sleep(0.005)
            try:
                method, path = step.split(" ", 1)
                conn.sendall(f"{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
                status, body = reader.response()
                say(step=number, status=status, body=body)
            except OSError as error:
                say(step=number, end=reason(error))
                return
    say(end="ok")


def from_port(source, host, port, path):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as conn:
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conn.bind(("", int(source)))
        conn.settimeout(5)
        try:
            conn.connect((host, int(port)))
            conn.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            say(status=Reader(conn).response()[0])
        except OSError as error:
            say(status=reason(error))


def body(host, port, method, path, size, following):
    started = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=30) as conn:
        reader = Reader(conn)
        conn.sendall(f"{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n".encode())
        left, block = int(size), bytes(1 << 16)
        while left:
            left -= conn.send(block[: min(left, len(block))])
        first, _ = reader.response()
        conn.sendall(f"GET {following} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        second, _ = reader.response()
        say(statuses=[first, second], seconds=time.monotonic() - started)


# More than a veth's ring of 256 packets holds are dropped where they are sent, and a first packet that was dropped so is
# tried again only 15 times, every half second: too short for a machine that stands still.
AT_A_TIME = 200


def round_of(poller, socks, request, expected, limit):
    """Sends `request` on each and counts those whose answer has the expected status. `AT_A_TIME` wait for an answer at a
    time; all have it within `limit` seconds."""
    waiting, good, bad = {}, 0, collections.Counter()
    unasked = iter(list(socks.items()))

    def ask():
        while len(waiting) < AT_A_TIME and (entry := next(unasked, None)):
            try:
                entry[1].send(request)
                waiting[entry[0]] = b""
            except OSError as error:
                bad[reason(error)] += 1

    ask()
    deadline = time.monotonic() + limit
    while waiting and time.monotonic() < deadline:
        for fd, _ in poller.poll(0.5):
            if fd not in waiting:
                continue
            try:
                data = socks[fd].recv(4096)
            except OSError as error:
                bad[reason(error)] += 1
                del waiting[fd]
                poller.unregister(fd)
                continue
            waiting[fd] += data
            head, end, body = waiting[fd].partition(b"\r\n\r\n")
            if not data:
                bad["closed"] += 1
                del waiting[fd]
                poller.unregister(fd)
            elif end and body.endswith(b"\n"):
                if head[9:12] == expected:
                    good += 1
                else:
                    bad[head[9:12].decode("latin-1")] += 1
                del waiting[fd]
        ask()
    if waiting:
        bad["no answer"] += len(waiting)
    return good, dict(bad)


def many(host, port, count, flag):
    count = int(count)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    poller, socks = select.epoll(), {}
    allowed = b"GET /public/a HTTP/1.1\r\nHost: h\r\n\r\n"
    refused = b"GET /private HTTP/1.1\r\nHost: h\r\n\r\n"
    started = time.monotonic()
    for _ in range(count):
        sock = socket.create_connection((host, int(port)), timeout=10)
        sock.setblocking(False)
        socks[sock.fileno()] = sock
        poller.register(sock.fileno(), select.EPOLLIN)

    def rounds():
        ok, bad = round_of(poller, socks, allowed, b"200", 60)
        no, worse = round_of(poller, socks, refused, b"403", 60)
        say(allowed=ok, refused=no, others=[bad, worse], seconds=time.monotonic() - started)

    say(connected=len(socks), seconds=time.monotonic() - started)
    rounds()
    while not os.path.exists(flag):
        time.sleep(0.02)
    rounds()
    # As many ends at once would not fit the veth's ring either.
    for number, sock in enumerate(socks.values()):
        sock.close()
        if number % AT_A_TIME == 0:
            time.sleep(0.02)


def unasked(source, host, name, address):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        for port in range(30000, 30200):
            body = struct.pack("!HHHHHH", port & 0xFFFF, 0x8180, 1, 1, 0, 0) + labels + struct.pack("!HH", 1, 1)
            body += struct.pack("!HHHIH", 0xC00C, 1, 1, 600, 4) + socket.inet_aton(address)
            datagram = struct.pack("!HHHH", 53, port, 8 + len(body), 0) + body
            head = struct.pack(
                "!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0,
                socket.inet_aton(source), socket.inet_aton(host)
            )
            sock.sendto(head + datagram, (host, 0))
    say(ok=True)


def main(argv):
    match argv:
        case ["serve", port, log]:
            serve(port, log)
        case ["raw", host, port, wait, *texts]:
            raw(host, port, wait, texts)
        case ["corpus", host, port, file]:
            corpus(host, port, file)
        case ["steps", host, port, flag, *asked]:
            steps(host, port, flag, asked)
        case ["from", source, host, port, path]:
            from_port(source, host, port, path)
        case ["many", host, port, count, flag]:
            many(host, port, count, flag)
        case ["body", host, port, method, path, size, following]:
            body(host, port, method, path, size, following)
        case ["unasked", source, host, name, address]:
            unasked(source, host, name, address)
        case _:
            sys.exit(__doc__)


main(sys.argv[1:])
