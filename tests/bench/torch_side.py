"""torch_side.py: the process that measures PyTorch for `make bench`; see ours.lua for what it is asked."""

import json
import os
import struct
import sys
import time

import torch
from torch import nn

THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))
FOLDER = sys.argv[1] if len(sys.argv) > 1 else "."


def lenet5():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))


def vgg():
    def block(before, after):
        return [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(),
                nn.Conv2d(after, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*block(3, 32), *block(32, 64), nn.Flatten(),
                         nn.Linear(4096, 256), nn.ReLU(), nn.Linear(256, 10))


def mlp():
    return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(),
                         nn.Linear(512, 10))


NETWORKS = {"lenet5": (lenet5, 0.002), "vgg": (vgg, 0.00005), "mlp": (mlp, 0.05)}
DTYPES = {"F32": torch.float32, "I64": torch.int64, "I32": torch.int32, "U8": torch.uint8}


def read(path):
    """The tensors of a safetensors file: a length, a JSON header, bytes."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        body = file.read()
    tensors = {}
    for name, item in header.items():
        if name == "__metadata__":
            continue
        begin, end = item["data_offsets"]
        flat = torch.frombuffer(bytearray(body[begin:end]), dtype=DTYPES[item["dtype"]])
        tensors[name] = flat.reshape(item["shape"]).clone()
    return tensors


class Job:
    """A network with the weights and the data that Moonwalk wrote, and its optimizer."""

    def __init__(self, name, batch):
        make, rate = NETWORKS[name]
        tensors = read(f"{FOLDER}/{name}.{batch}.safetensors")
        self.net = make()
        with torch.no_grad():
            for parameter, value in self.net.named_parameters():
                layer, field = parameter.split(".")
                value.copy_(tensors[f"{int(layer) + 1}.{field}"])
        self.batches = []
        while f"x{len(self.batches) + 1}" in tensors:
            i = len(self.batches) + 1
            self.batches.append((tensors[f"x{i}"], tensors[f"y{i}"].long()))
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=rate, momentum=0.9)
        self.cost = nn.CrossEntropyLoss()
        self.at = -1

    def next(self):
        self.at = (self.at + 1) % len(self.batches)
        return self.batches[self.at]

    def step(self):
        x, y = self.next()
        self.optimizer.zero_grad()
        loss = self.cost(self.net(x), y)
        loss.backward()
        self.optimizer.step()
        return loss

    def infer(self):
        with torch.no_grad():
            return self.net(self.next()[0])


jobs = {}


def job_of(name):
    if name not in jobs:
        network, kind, batch = name.split(".")[:3]
        job = Job(network, int(batch))
        jobs[name] = (job.step if kind == "train" else job.infer, int(batch))
    return jobs[name]


def setup(name):
    run, _ = job_of(name)
    for _ in range(3):
        run()
    return {"done": True}


def measure(name, seconds):
    run, size = job_of(name)
    start = time.perf_counter()
    while True:
        run()
        if time.perf_counter() - start >= 0.2 * seconds:
            break
    calls, begin = 0, time.perf_counter()
    while True:
        run()
        calls += 1
        spent = time.perf_counter() - begin
        if spent >= seconds:
            return {"rate": calls * size / spent}


def loss_of(name, steps):
    network, _, batch = name.split(".")[:3]
    job, loss = Job(network, int(batch)), None
    for _ in range(steps):
        loss = job.step()
    return {"loss": loss.item()}


def answer(words):
    if words[0] == "setup":
        return setup(words[1])
    if words[0] == "round":
        return measure(words[1], float(words[2]))
    if words[0] == "loss":
        return loss_of(words[1], int(words[2]))
    return {"error": "unknown: " + words[0]}


def main():
    torch.set_num_threads(THREADS)
    print(json.dumps({"ready": True, "version": torch.__version__}), flush=True)
    for line in sys.stdin:
        if line.strip() == "quit":
            break
        try:
            reply = answer(line.split())
        except Exception as problem:  # said to the one who asks
            reply = {"error": repr(problem)}
        print(json.dumps(reply), flush=True)


main()
