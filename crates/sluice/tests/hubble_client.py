"""A client of a gRPC server that knows nothing but what reflection tells it.

  client.py TARGET METHOD REQUEST [COUNT]

TARGET is what gRPC dials (unix:///path), METHOD is package.Service/Method, REQUEST is JSON. Each response is a line of
JSON with the names of the protocol. A stream ends with the server, or after COUNT responses. An error of the server is
`{"code": …, "details": …}`.
"""
import json
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

PATIENCE = 30
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def text(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value


def fields(data):
    """(number, value) of a message that has nothing but numbers and byte strings."""
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = number()
        if key & 7 == 0:
            yield key >> 3, number()
        else:
            length = number()
            yield key >> 3, data[at:at + length]
            at += length


def described(channel, service):
    """A pool of all that the server says about a service."""
    ask = channel.stream_stream(REFLECTION)
    known = {}

    def take(request):
        for answer in ask(iter([request]), timeout=PATIENCE):
            for number, value in fields(answer):
                if number == 7:
                    sys.exit(f"reflection: {value}")
                if number == 4:
                    for _, encoded in fields(value):
                        file = descriptor_pb2.FileDescriptorProto.FromString(encoded)
                        known.setdefault(file.name, file)

    take(text(4, service.encode()))
    while lacking := {name for file in known.values() for name in file.dependency} - known.keys():
        for name in lacking:
            take(text(3, name.encode()))
    pool = descriptor_pool.DescriptorPool()

    def add(name):
        file = known.pop(name, None)
        if file is not None:
            for dependency in file.dependency:
                add(dependency)
            pool.Add(file)

    for name in list(known):
        add(name)
    return pool


def main(target, method, request, count=None):
    service, name = method.split("/")
    # By itself this library names the socket's path as the authority, which is none (RFC 9113 §8.3.1).
    with grpc.insecure_channel(target, [("grpc.default_authority", "localhost")]) as channel:
        pool = described(channel, service)
        about = pool.FindServiceByName(service).FindMethodByName(name)
        question = message_factory.GetMessageClass(about.input_type)()
        json_format.ParseDict(json.loads(request), question, descriptor_pool=pool)
        answer = message_factory.GetMessageClass(about.output_type).FromString
        kind = channel.unary_stream if about.server_streaming else channel.unary_unary
        call = kind("/" + method, type(question).SerializeToString, answer)
        try:
            answers = call(question, timeout=PATIENCE)
            for number, one in enumerate(answers if about.server_streaming else [answers], 1):
                line = json_format.MessageToDict(one, preserving_proto_field_name=True, descriptor_pool=pool)
                print(json.dumps(line), flush=True)
                if count and number == int(count):
                    answers.cancel()
                    break
        except grpc.RpcError as error:
            print(json.dumps({"code": error.code().name, "details": error.details()}), flush=True)


main(*sys.argv[1:])
