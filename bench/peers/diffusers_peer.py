"""diffusers on MNIST: UNet2DModel, DDPMScheduler and the loop of its unconditional training example, without a progress bar."""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version

import torchvision_names
from common import mnist

# after torchvision_names, which makes torchvision importable
import torch  # isort: skip
import torch.nn.functional as F  # isort: skip
from diffusers import DDPMScheduler, UNet2DModel  # isort: skip
from diffusers.training_utils import EMAModel  # isort: skip
from torch.utils.flop_counter import FlopCounterMode  # isort: skip

assert torchvision_names


def model_of(maps: tuple[int, ...], side: int) -> UNet2DModel:
    """Like ours it sees squares of 2x2 pixels as four channels: at 28x28 equal weights would mean more than twice the work."""
    levels = len(maps) - 1
    return UNet2DModel(
        sample_size=side, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=maps, norm_num_groups=4,
        num_class_embeds=11, attention_head_dim=8,
        down_block_types=("DownBlock2D",) * levels + ("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * levels,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--maps", default="16,40")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rows", type=int, default=0)
    job = parser.parse_args()
    images, labels = mnist(rows=job.rows)
    pictures = F.pixel_unshuffle(torch.from_numpy(images)[:, None].float().div(127.5).sub(1), 2)
    data = torch.utils.data.TensorDataset(pictures, torch.from_numpy(labels))
    loader = torch.utils.data.DataLoader(data, batch_size=job.batch, shuffle=True, drop_last=True)
    model, noising = model_of(tuple(map(int, job.maps.split(","))), 14), DDPMScheduler(num_train_timesteps=1000)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    averaged, stamps = EMAModel(model.parameters(), decay=0.999), [time.perf_counter()]
    model.train()
    while len(stamps) <= job.steps:
        for clean, label in loader:
            noise = torch.randn_like(clean)
            times = torch.randint(0, 1000, (len(clean),)).long()
            noisy = noising.add_noise(clean, noise, times)
            loss = F.mse_loss(model(noisy, times, class_labels=label).sample, noise)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            averaged.step(model.parameters())
            stamps.append(time.perf_counter())
            if len(stamps) > job.steps:
                break
    half = len(stamps) // 2
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        model(pictures[:1], torch.zeros(1).long(), class_labels=torch.zeros(1).long())
    print("RESULT " + json.dumps({
        "images_per_s": (len(stamps) - 1 - half) * job.batch / (stamps[-1] - stamps[half]),
        "parameters": sum(p.numel() for p in model.parameters()), "macs": counted.get_total_flops() // 2,
        "loss": float(loss.detach()), "versions": {name: version(name) for name in ("diffusers", "torch")},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
