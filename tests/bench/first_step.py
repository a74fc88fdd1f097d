"""first_step.py: what first_step.lua does, by PyTorch."""

import resource
import sys

import torch
from torch import nn

MEMORY = sys.argv[1:] == ["memory"]
torch.set_num_threads(1)
torch.manual_seed(1)
net = nn.Sequential(
    nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
batches = [(torch.randn(64, 1, 28, 28), torch.randint(0, 10, (64,)))
           for _ in range(10 if MEMORY else 1)]
for step in range(100 if MEMORY else 1):
    x, y = batches[step % len(batches)]
    optimizer.zero_grad()
    nn.CrossEntropyLoss()(net(x), y).backward()
    optimizer.step()
if MEMORY:
    data = sum(x.numel() * 4 for x, _ in batches)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - data) / 1e6)
