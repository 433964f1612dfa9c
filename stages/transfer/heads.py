"""Make a head: new, or initialized from the source's classifier."""

from collections.abc import Sequence

import numpy as np

from stages.backbones.pretrained import Pretrained
from stages.base.errors import UserError
from stages.compute.architecture import Architecture
from stages.compute.networks import Model, build_head
from stages.schema.finetune import Head

_REMEDY = "Set finetune.head.initial: new."


def make_head(
    params: Head, architecture: Architecture, pretrained: Pretrained | None, pooling: str, classes: list[str]
) -> Model:
    """Return a head, from features to logits.

    Args:
        params: ``finetune.head``.
        architecture: of the backbone whose features it takes.
        pretrained: the backbone; None if it is an ONNX graph.
        pooling: how feature maps become features.
        classes: names, in the order of the logits.

    Raises:
        UserError: it should start from the source's classifier and cannot, or sigmoid is asked for more than two
            classes.
    """
    head = make_new_head(params, architecture.features(pooling), len(classes))
    if params.initial == "source":
        assert pretrained is not None, "stages.transfer.compatibility refuses it"
        start_from_source(head, pretrained, pooling, classes)
    return head


def set_classifier(head: Model, kernel: np.ndarray, bias: np.ndarray) -> None:
    """Set the weights of a head without hidden layers.

    Args:
        head: its only layer with weights is ``classifier``; for two classes it may have one logit, for the second.
        kernel: (features, classes).
        bias: (classes,).
    """
    classifier = head.get_layer("classifier")
    if classifier.kernel.shape[1] < kernel.shape[1]:
        kernel, bias = np.diff(kernel), np.diff(bias)
    classifier.set_weights([kernel.astype(np.float32), bias.astype(np.float32)])


def make_new_head(params: Head, features: int, classes: int) -> Model:
    """Return a head with new weights, from features to logits.

    Args:
        params: ``finetune.head``.
        features: how many it takes.
        classes: how many there are.

    Raises:
        UserError: sigmoid is asked for more than two classes.
    """
    if params.output == "sigmoid" and classes != 2:
        raise UserError(f"finetune.head.output: expected softmax for {classes} classes; received sigmoid.")
    return build_head(
        features,
        hidden=params.hidden,
        dropout=params.dropout,
        classes=classes,
        batchnorm=params.batchnorm,
        output=params.output,
    )


def start_from_source(head: Model, pretrained: Pretrained, pooling: str, classes: list[str]) -> None:
    """Copy the weights of the source's classifier for ``classes`` into a head, in this order.

    Args:
        head: of one layer, ``classifier``.
        pretrained: with a classifier.
        pooling: how feature maps become features.
        classes: names.

    Raises:
        UserError: there is no classifier for these features, it lacks a class, or the head has another shape.
    """
    kernel, bias, columns = select_outputs(pretrained, pooling, classes)
    classifier = head.get_layer("classifier")
    if tuple(classifier.kernel.shape) != (len(kernel), len(classes)) or len(head.weights) != 2:
        raise UserError(f"finetune.head.initial: 'source' requires a head of the classifier's shape. {_REMEDY}")
    classifier.set_weights([kernel[:, columns], bias[columns]])


def select_outputs(
    pretrained: Pretrained, pooling: str, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return kernel and bias of the source's classifier, and the places of ``classes`` among its outputs.

    Args:
        pretrained: with a classifier.
        pooling: how feature maps become features.
        classes: names.

    Raises:
        UserError: there is no classifier for these features, or it lacks a class.
    """
    architecture = pretrained.backbone.architecture
    if pooling != "average" and len(architecture.shape(architecture.output)) > 1:
        raise UserError(
            f"finetune.head.initial: 'source' requires extract.pooling: average, as its classifier was trained; "
            f"received {pooling}. Set that, or finetune.head.initial: new."
        )
    if pretrained.classifier is None:
        raise UserError(
            f"finetune.head.initial: 'source' requires a backbone that pretrain trained on a data set, or a model of "
            f"your own that ends in a classifier. {_REMEDY}"
        )
    if pretrained.classes is None:
        count = pretrained.classifier[0].shape[1]
        raise UserError(
            f"finetune.head.initial: 'source' requires the names of the source's {count} classes, which its file does "
            f"not contain. List them in pretrain.classes, in the order of the outputs, or set "
            f"finetune.head.initial: new."
        )
    missing = [name for name in classes if name not in pretrained.classes]
    if missing:
        raise UserError(
            f"finetune.head.initial: 'source' requires every class to be among the source's "
            f"({', '.join(pretrained.classes)}); missing: {', '.join(missing)}. {_REMEDY}"
        )
    return *pretrained.classifier, [pretrained.classes.index(name) for name in classes]
