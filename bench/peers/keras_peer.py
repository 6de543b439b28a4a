"""Keras 3 on arrays, with its defaults; the backend (torch, jax, tensorflow) is the variant."""

from __future__ import annotations

import os
import sys

os.environ["KERAS_BACKEND"] = sys.argv[2]

import keras
import numpy as np
from common import (
    BATCH,
    CIFAR_MEAN,
    CIFAR_STD,
    MNIST_MEAN,
    MNIST_STD,
    PRECISION,
    Clock,
    Race,
    arguments,
    cifar,
    emit_epochs,
    mnist,
)
from keras import layers

BACKEND = {"torch": "torch", "jax": "jax", "tensorflow": "tensorflow_cpu"}


def lenet() -> keras.Model:
    return keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(6, 5, padding="same", activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(16, 5, activation="relu"), layers.MaxPooling2D(), layers.Flatten(),
        layers.Dense(120, activation="relu"), layers.Dense(84, activation="relu"), layers.Dense(10),
    ])  # fmt: skip


def convolution(x, width: int, kernel: int, stride: int):
    x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=False)(x)
    return layers.BatchNormalization()(x)


def block(x, width: int, stride: int):
    shortcut = x if stride == 1 and x.shape[-1] == width else convolution(x, width, 1, stride)
    x = layers.ReLU()(convolution(x, width, 3, stride))
    return layers.ReLU()(layers.Add()([convolution(x, width, 3, 1), shortcut]))


def resnet() -> keras.Model:
    """ResNet-18 with the 3x3 stem; augmentation is layers of the model, as Keras teaches it (one crop per batch)."""
    inputs = keras.Input((32, 32, 3))
    x = layers.RandomCrop(32, 32)(layers.ZeroPadding2D(4)(inputs))
    x = layers.RandomFlip("horizontal")(x)
    x = layers.ReLU()(convolution(x, 64, 3, 1))
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        x = block(block(x, width, stride), width, 1)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


class Laps(keras.callbacks.Callback):
    """Epochs' ends."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def on_epoch_end(self, epoch, logs=None) -> None:
        self.clock.lap()


def speed(job) -> None:
    keras.config.set_dtype_policy({"fp32": "float32", "bf16": "mixed_bfloat16"}[PRECISION])
    if job.suite == "lenet":
        images, y = mnist("train", job.rows)
        x, model, opt = (images[..., None] / 255 - MNIST_MEAN) / MNIST_STD, lenet(), keras.optimizers.Adam(1e-3)
    else:
        images, y = cifar(job.rows)
        x, model = (images / 255 - CIFAR_MEAN) / CIFAR_STD, resnet()
        opt = keras.optimizers.SGD(0.05, momentum=0.9, weight_decay=5e-4)
    x, clock = x.astype(np.float32), Clock()
    model.compile(opt, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    clock.start()
    history = model.fit(x, y, batch_size=BATCH, epochs=job.epochs, verbose=0, callbacks=[Laps(clock)])
    emit_epochs(job, f"keras-{job.variant}", ["keras", BACKEND[job.variant]], clock, len(x),
                loss=history.history["loss"][-1], parameters=model.count_params())  # fmt: skip


def example(job) -> None:
    """keras.io, "Simple MNIST convnet": Adam, batch 128, 15 epochs, a tenth held out for validation, x / 255."""
    race = Race()
    train, test = mnist("train", job.rows), mnist("t10k", job.rows)
    x, x_test = (images[..., None].astype(np.float32) / 255 for images, _ in (train, test))
    y = keras.utils.to_categorical(train[1], 10)
    model = keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Flatten(), layers.Dropout(0.5), layers.Dense(10, activation="softmax"),
    ])  # fmt: skip
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    epochs = job.epochs or 15

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None) -> None:
            last = epoch + 1 == epochs
            guesses = lambda: np.asarray(model.predict(x_test, batch_size=1000, verbose=0)).argmax(1)  # noqa: E731
            self.model.stop_training = race.test(lambda: (guesses() == test[1]).mean(), aside=not last)

    model.fit(x, y, batch_size=128, epochs=epochs, validation_split=0.1, verbose=0, callbacks=[Stop()])
    race.emit(job, f"keras-{job.variant}-example", ["keras", BACKEND[job.variant]])


if __name__ == "__main__":
    job = arguments()
    keras.utils.set_random_seed(int(os.environ.get("BENCH_ROUND", 0)))
    example(job) if job.suite == "mnist99" else speed(job)
