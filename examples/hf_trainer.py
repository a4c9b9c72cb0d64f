"""AugMix with the `Trainer` of Hugging Face: views in the data set, a collate function, a loss.

    python examples/hf_trainer.py DATA OUT [EPOCHS]    # DATA/train/CLASS/*.jpg, DATA/test/CLASS/...

The network here starts from random weights; `ViTForImageClassification.from_pretrained(...)` with
its own image processor works the same way.
"""

import sys
from pathlib import Path

import torch
from pytorch_loop import SIZE, Photos
from torch.nn import functional as F
from torch.utils.data import default_collate
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification
from transformers import ViTImageProcessor as Processor

import augmix

MEAN, STD = 0.5, 0.5  # of the processor
objective = augmix.JSDLoss(weight=12.0)


def collate(samples):
    """Normalised pixels: of several views, all clean images come first, then all first views."""
    images, labels = default_collate(samples)
    images = torch.cat(images) if isinstance(images, list) else images
    return {"pixel_values": (images - MEAN) / STD, "labels": labels}


def loss(outputs, labels, num_items_in_batch=None):
    """The loss of AugMix in training, cross-entropy in the evaluation branch."""
    has_views = len(outputs.logits) > len(labels)
    return (objective if has_views else F.cross_entropy)(outputs.logits, labels)


def main(data, out, epochs=1):
    """Train, save, and measure under corruption."""
    train, test = Photos(Path(data) / "train"), Photos(Path(data) / "test")
    names = dict(enumerate(train.classes))
    config = ViTConfig(
        image_size=SIZE,
        patch_size=4,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        id2label=names,
        label2id={name: index for index, name in names.items()},
    )
    size = {"height": SIZE, "width": SIZE}
    processor = Processor(size=size, image_mean=[MEAN] * 3, image_std=[STD] * 3)
    views = augmix.transforms.AugMixViews(severity=3)
    plain = augmix.transforms.OneView(augmix.Standard(), dtype=torch.float32)  # as ToTensor
    trainer = Trainer(
        ViTForImageClassification(config),
        TrainingArguments(
            out,
            num_train_epochs=epochs,
            per_device_train_batch_size=100,
            learning_rate=1e-3,
            remove_unused_columns=False,
            report_to=[],
            eval_strategy="epoch",
            dataloader_num_workers=2,
        ),
        train_dataset=augmix.transforms.Transformed(train, views),
        eval_dataset=augmix.transforms.Transformed(test, plain),
        data_collator=collate,
        compute_loss_func=loss,
        processing_class=processor,
    )
    trainer.train()
    trainer.save_model(out)
    model = augmix.open_model(f"hf:{out}")  # with its processor: size, mean, std, classes
    results = augmix.evaluate(model, data, names=("fog", "contrast"), severities=(1, 3, 5))
    print(results)
    return results


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
