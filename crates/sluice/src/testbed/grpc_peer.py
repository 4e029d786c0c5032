"""A payment service over gRPC, and the clients that try it.

  serve PORT...                    the service on each of the ports
  call TARGET METHOD...            unary calls one after the other on one channel
  report TARGET                    how often each method was entered
  suite TARGET                     every kind of call with refused ones between; AuthorizePayment, Collect, List, Chat
                                   and Slow must be allowed, and IssueRefund refused
  many TARGET COUNT ROUNDS         that many unary calls at once, every third of IssueRefund, so many times

Messages are bytes, so nothing has to be generated. Clients say what they saw as one line of JSON.
"""
import json
import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "payments.PaymentService"
PATIENCE = 20
# What grpcio takes by itself is refused at random between 8 and 16 KiB.
OPTIONS = [("grpc.max_metadata_size", 32 << 10), ("grpc.absolute_max_metadata_size", 48 << 10)]
# From 1,000 waiting calls on, a server of this library drops new ones at random (its client says CANCELLED), which a
# busy machine reaches.
WAITING = [("grpc.server.max_pending_requests", 10_000), ("grpc.server.max_pending_requests_hard_limit", 10_000)]


def path(method):
    return f"/{SERVICE}/{method}"


class Service:
    """Counts what it is asked."""

    def __init__(self):
        self.seen = {}
        self.lock = threading.Lock()

    def count(self, name):
        with self.lock:
            self.seen[name] = self.seen.get(name, 0) + 1

    def authorize(self, request, context):
        self.count("AuthorizePayment")
        size = sum(len(value) for key, value in context.invocation_metadata() if key.startswith("x-"))
        context.set_trailing_metadata((("x-size", str(size)),))
        return b"authorized " + request

    def refund(self, request, _context):
        self.count("IssueRefund")
        return b"refunded " + request

    def slow(self, _request, context):
        self.count("Slow")
        for _ in range(200):
            if not context.is_active():
                self.count("SlowEndedEarly")
                break
            time.sleep(0.02)
        return b"late"

    def listing(self, request, _context):
        self.count("List")
        for number in range(int(request)):
            yield b"%d" % number

    def collect(self, requests, _context):
        self.count("Collect")
        return b"%d" % sum(len(request) for request in requests)

    def chat(self, requests, _context):
        self.count("Chat")
        for request in requests:
            yield b"re " + request

    def report(self, _request, _context):
        with self.lock:
            return json.dumps(self.seen).encode()

    def handler(self):
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        return grpc.method_handlers_generic_handler(SERVICE, {
            "AuthorizePayment": unary(self.authorize),
            "IssueRefund": unary(self.refund),
            "Slow": unary(self.slow),
            "Report": unary(self.report),
            "List": grpc.unary_stream_rpc_method_handler(self.listing),
            "Collect": grpc.stream_unary_rpc_method_handler(self.collect),
            "Chat": stream(self.chat),
        })


def serve(*ports):
    server = grpc.server(futures.ThreadPoolExecutor(32), options=OPTIONS + WAITING)
    server.add_generic_rpc_handlers((Service().handler(),))
    for port in ports:
        server.add_insecure_port(f"[::]:{port}")
    server.start()
    server.wait_for_termination()


class Client:
    def __init__(self, target):
        self.channel = grpc.insecure_channel(target, options=OPTIONS)

    def unary(self, method, data=b"x", timeout=PATIENCE, **options):
        """The answer as text, or the name of the status and its message."""
        try:
            return self.channel.unary_unary(path(method))(data, timeout=timeout, **options).decode()
        except grpc.RpcError as error:
            return ended(error)


def ended(error):
    return f"{error.code().name}: {error.details()}"


def call(target, *methods):
    client = Client(target)
    return {"calls": [client.unary(method, b"42 EUR", timeout=4) for method in methods]}


def report(target):
    return json.loads(Client(target).unary("Report"))


def suite(target):
    client = Client(target)
    refused = "PERMISSION_DENIED: Access denied"
    said = {}

    # Metadata, which has to go into and out of the header tables of both sides again and again.
    for kib in (0, 1, 8):
        metadata = tuple((f"x-key-{n}", "v" * 1024) for n in range(kib)) + (("x-raw-bin", bytes(range(256))),)
        for _ in range(3):
            _answer, ok = client.channel.unary_unary(path("AuthorizePayment")).with_call(
                b"x", timeout=PATIENCE, metadata=metadata)
            assert dict(ok.trailing_metadata())["x-size"] == str(kib * 1024 + 256), ok.trailing_metadata()
            assert client.unary("IssueRefund", metadata=metadata) == refused
    said["metadata"] = "ok"

    big = b"z" * 50_000
    got = list(client.channel.unary_stream(path("List"))(b"1000", timeout=PATIENCE))
    said["server stream"] = len(got)
    got = client.channel.stream_unary(path("Collect"))((big for _ in range(200)), timeout=PATIENCE)
    said["client stream"] = int(got)

    # Refused with a body on its way: 10 MB of credit go back to the client.
    for kind in ("stream_unary", "stream_stream"):
        try:
            got = getattr(client.channel, kind)(path("IssueRefund"))((big for _ in range(200)), timeout=PATIENCE)
            said[f"refused {kind}"] = f"answered: {got if kind == 'stream_unary' else list(got)}"
        except grpc.RpcError as error:
            said[f"refused {kind}"] = ended(error)

    def talk():
        for number in range(300):
            if number % 10 == 3:
                assert client.unary("IssueRefund", b"y" * 2_000) == refused
            yield b"%d" % number

    got = list(client.channel.stream_stream(path("Chat"))(talk(), timeout=PATIENCE))
    said["both ways"] = got == [b"re %d" % number for number in range(300)]

    said["deadline"] = client.unary("Slow", timeout=0.4)
    started = client.channel.unary_unary(path("Slow")).future(b"x", timeout=PATIENCE)
    time.sleep(0.3)
    said["cancelled"] = started.cancel() and started.cancelled()
    said["afterwards"] = client.unary("AuthorizePayment", b"after")
    return said


def many(target, count, rounds):
    channel = grpc.insecure_channel(target, options=OPTIONS)
    counts = {"ok": 0, "refused": 0, "other": []}
    for _ in range(int(rounds)):
        calls = []
        for number in range(int(count)):
            method = "IssueRefund" if number % 3 == 2 else "AuthorizePayment"
            calls.append(channel.unary_unary(path(method)).future(b"%d" % number, timeout=60))
        for number, started in enumerate(calls):
            kind = outcome(number, started)
            if kind in counts:
                counts[kind] += 1
            else:
                counts["other"].append(kind)
    counts["other"] = counts["other"][:5]
    return counts


def outcome(number, started):
    try:
        right = started.result() == b"authorized %d" % number and number % 3 != 2
        return "ok" if right else f"{number}: a wrong answer"
    except grpc.RpcError as error:
        right = number % 3 == 2 and error.code() == grpc.StatusCode.PERMISSION_DENIED
        return "refused" if right else f"{number}: {ended(error)}"


if __name__ == "__main__":
    role = {"serve": serve, "call": call, "report": report, "suite": suite, "many": many}[sys.argv[1]]
    said = role(*sys.argv[2:])
    if said is not None:
        print(json.dumps(said))
