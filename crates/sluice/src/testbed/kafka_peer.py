"""A Kafka broker, and clients that produce and consume.

  serve PORT...                                  a broker on each of the ports
  fill SERVER                                    makes the topics on another broker
  produce SERVER [key=value...] TOPIC...         a message to each of the topics, one after the other, by one producer
  bulk SERVER TOPIC COUNT SIZE                   many messages
  consume SERVER TOPIC GROUP                     the first message of a topic, as a member of a group
  offsets SERVER TOPIC...                        how many messages each topic holds
  aio SERVER                                     produce and consume with aiokafka, which is written in Python
  raw SERVER PORT                                starts TLS where Kafka is spoken; how that ends

The broker is the mock cluster of librdkafka: it speaks the protocol, keeps messages and groups in memory, and listens
on loopback only. A relay in front of it gives clients the name `kafka.svc` and the relay's port in place of that
address (a name of the same length, so no length in a response changes) and takes away what it answers to a produce
request with acks=0, which a broker does not answer. Topics: orders, payments, events, with one message each.
"""
import json
import socket
import sys
import threading
import time

NAME = b"kafka.svc"
TOPICS = ("orders", "payments", "events")


def serve(*ports):
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    broker = next(iter(producer.list_topics(timeout=10).brokers.values()))
    for topic in TOPICS:
        producer.produce(topic, b"first of " + topic.encode(), partition=0)
    producer.flush(10)
    for port in ports[1:]:
        threading.Thread(target=relay, args=(int(port), broker.port), daemon=True).start()
    relay(int(ports[0]), broker.port)


def fill(server):
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient(settings(server, ()))
    for made in admin.create_topics([NewTopic(topic, 1, 1) for topic in TOPICS]).values():
        made.result(10)
    producer = Producer(settings(server, ()))
    for topic in TOPICS:
        producer.produce(topic, b"first of " + topic.encode(), partition=0)
    if producer.flush(10):
        sys.exit("the broker does not take messages")


def relay(port, broker):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        client, _ = listener.accept()
        Relayed(client, socket.create_connection(("127.0.0.1", broker)), port, broker)


class Relayed:
    """One connection through the relay."""

    def __init__(self, client, server, port, broker):
        self.inside = b"127.0.0.1" + broker.to_bytes(4, "big")
        self.outside = NAME + port.to_bytes(4, "big")
        self.unanswered = set()
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink, change in ((client, server, self.request), (server, client, self.response)):
            threading.Thread(target=self.pump, args=(source, sink, change), daemon=True).start()

    def pump(self, source, sink, change):
        reader = source.makefile("rb", buffering=1 << 18)
        try:
            while len(length := reader.read(4)) == 4:
                message = change(reader.read(int.from_bytes(length, "big")))
                if message is not None:
                    sink.sendall(length + message)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def request(self, message):
        key, version = int.from_bytes(message[:2], "big"), int.from_bytes(message[2:4], "big")
        if key == 0 and version >= 3 and acks(message) == 0:
            self.unanswered.add(message[4:8])
        return message

    def response(self, message):
        if message[:4] in self.unanswered:
            self.unanswered.discard(message[:4])
            return None
        return message.replace(self.inside, self.outside)


def acks(message):
    """The acks of a produce request without a transactional id, which is two octets in front of them: a null string
    (or, since version 9, no tagged fields and a compact null)."""
    at = 12 + max(0, int.from_bytes(message[8:10], "big", signed=True))
    return int.from_bytes(message[at:at + 2], "big", signed=True)


def settings(server, options):
    return {"bootstrap.servers": server, "log_level": 0, **dict(option.split("=", 1) for option in options)}


def produce(server, *words):
    from confluent_kafka import Producer

    producer = Producer(settings(server, (word for word in words if "=" in word)))
    said = []
    for topic in (word for word in words if "=" not in word):
        started = time.monotonic()
        got = []
        try:
            producer.produce(topic, b"hello", on_delivery=lambda error, _: got.append(error))
            producer.flush(20)
            got = [error.name() if error else "ok" for error in got]
        except Exception as error:  # of a topic known to be refused, or of a producer that has given up
            got = [kafka_error(error)]
        said.append({"topic": topic, "end": got[0] if got else "timeout", "seconds": time.monotonic() - started})
    return {"produced": said}


def kafka_error(error):
    from confluent_kafka import KafkaException

    while error is not None:
        if isinstance(error, KafkaException):
            return error.args[0].name()
        error = error.__cause__
    return "unknown"


def bulk(server, topic, count, size):
    from confluent_kafka import Producer

    producer = Producer({**settings(server, ()), "queue.buffering.max.kbytes": 1 << 20, "linger.ms": 5})
    ends = {}

    def delivered(error, _):
        end = error.name() if error else "ok"
        ends[end] = ends.get(end, 0) + 1

    started = time.monotonic()
    for _ in range(int(count)):
        producer.produce(topic, b"x" * int(size), on_delivery=delivered)
    producer.flush(60)
    return {**ends, "seconds": time.monotonic() - started}


def consume(server, topic, group):
    from confluent_kafka import Consumer, KafkaException

    consumer = Consumer({**settings(server, ()), "group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    started = time.monotonic()
    message = consumer.poll(20)
    said = {"seconds": time.monotonic() - started}
    if message is None:
        said["end"] = "timeout"
    elif message.error():
        said["end"] = message.error().name()
    else:
        said.update(end="ok", value=message.value().decode())
        try:
            said["committed"] = consumer.commit(asynchronous=False)[0].offset
        except KafkaException as error:
            said["committed"] = error.args[0].name()
    consumer.close()
    return said


def offsets(server, *topics):
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({**settings(server, ()), "group.id": "offsets"})
    said = {}
    for topic in topics:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        said[topic] = sum(consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=10)[1] for n in partitions)
    consumer.close()
    return said


def aio(server):
    import asyncio
    import logging

    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
    from aiokafka.errors import KafkaError

    logging.disable(logging.CRITICAL)

    async def run():
        said = []
        producer = AIOKafkaProducer(bootstrap_servers=server)
        await producer.start()
        for topic in ("orders", "payments", "orders"):
            try:
                await asyncio.wait_for(producer.send_and_wait(topic, b"hello"), 20)
                said.append("ok")
            except KafkaError as error:
                said.append(type(error).__name__)
        await producer.stop()
        consumer = AIOKafkaConsumer("events", bootstrap_servers=server, group_id="aio", auto_offset_reset="earliest")
        await consumer.start()
        message = await asyncio.wait_for(consumer.getone(), 20)
        await consumer.commit()
        await consumer.stop()
        return {"produced": said, "consumed": message.value.decode()}

    return asyncio.run(run())


def raw(host, port):
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, int(port)), timeout=5) as plain:
        try:
            context.wrap_socket(plain, server_hostname=host)
            return {"end": "ok"}
        except (OSError, ssl.SSLError) as error:
            return {"end": type(error).__name__}


if __name__ == "__main__":
    roles = {"serve": serve, "fill": fill, "produce": produce, "bulk": bulk, "consume": consume, "offsets": offsets,
             "aio": aio, "raw": raw}
    said = roles[sys.argv[1]](*sys.argv[2:])
    if said is not None:
        print(json.dumps(said))
