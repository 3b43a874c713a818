"""cri.py PROTO SOCKET: speaks the CRI for the test, as a kubelet would.

Reads lines of JSON, ["Method", {request}], and answers each with one: the
response, or {"error": text}. The messages are built from the file PROTO: no
compiler of protocol buffers is needed.
"""

import json
import re
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format
from google.protobuf import message_factory

PACKAGE = "runtime.v1"
TYPES = descriptor_pb2.FieldDescriptorProto
FIELD = re.compile(r"(repeated )?(\w+) (\w+) = (\d+);")


def field_of(message, match):
    repeated, kind, name, number = match.groups()
    field = message.field.add(name=name, number=int(number))
    field.label = TYPES.LABEL_REPEATED if repeated else TYPES.LABEL_OPTIONAL
    if hasattr(TYPES, "TYPE_" + kind.upper()):
        field.type = getattr(TYPES, "TYPE_" + kind.upper())
    else:
        field.type = TYPES.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"


def read(path):
    """A function that knows the class of each message."""
    text = re.sub("//.*", "", open(path).read())
    file = descriptor_pb2.FileDescriptorProto(
        name="cri.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in re.findall(r"message (\w+) {(.*?)}", text):
        message = file.message_type.add(name=name)
        for match in FIELD.finditer(fields):
            field_of(message, match)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)

    def message(name):
        found = pool.FindMessageTypeByName(f"{PACKAGE}.{name}")
        if hasattr(message_factory, "GetMessageClass"):
            return message_factory.GetMessageClass(found)
        return message_factory.MessageFactory(pool).GetPrototype(found)

    return message


def call(channel, message, method, request):
    request = json_format.ParseDict(request, message(method + "Request")())
    made = channel.unary_unary(
        f"/{PACKAGE}.RuntimeService/{method}",
        request_serializer=lambda it: it.SerializeToString(),
        response_deserializer=message(method + "Response").FromString,
    )
    try:
        response = made(request, timeout=60, wait_for_ready=True)
    except grpc.RpcError as error:
        return {"error": error.details()}
    return json_format.MessageToDict(
        response, preserving_proto_field_name=True,
        including_default_value_fields=True,
    )


def main():
    _, proto, socket = sys.argv
    message = read(proto)
    with grpc.insecure_channel(f"unix://{socket}") as channel:
        for line in sys.stdin:
            print(json.dumps(call(channel, message, *json.loads(line))))
            sys.stdout.flush()


main()
