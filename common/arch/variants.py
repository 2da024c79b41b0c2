"""Variants of a network with changed layers and the same names."""

from collections.abc import Callable
from dataclasses import replace

from common.arch.nodes import Branches, Conv, Network, Node, NonLocal, Norm, Residual


def narrow(net: Network, divisor: int) -> Network:
    """Divides the channels of every layer but the input and the classes, for fast tests."""

    def thin(conv: Conv) -> Conv:
        return replace(conv, out_channels=max(conv.out_channels // divisor, 1))

    return map_convs(net, thin)


def scaled(net: Network) -> Network:
    """Gives every batch norm a trainable scale."""
    return map_norms(net, lambda norm: replace(norm, scale=True))


def with_classes(net: Network, num_classes: int) -> Network:
    """Changes the number of classes."""
    conv = replace(net.head.conv, out_channels=num_classes)
    return replace(net, nodes=(*net.nodes[:-1], replace(net.head, conv=conv)))


def with_dropout(net: Network, dropout: float) -> Network:
    """Changes the probability of dropping a feature in training."""
    return replace(net, nodes=(*net.nodes[:-1], replace(net.head, dropout=dropout)))


def without_dropout(net: Network) -> Network:
    """Disables dropout."""
    return with_dropout(net, 0.0)


def map_norms(net: Network, change: Callable[[Norm], Norm]) -> Network:
    """Applies `change` to every batch norm."""

    def changed(conv: Conv) -> Conv:
        return replace(conv, norm=change(conv.norm)) if isinstance(conv.norm, Norm) else conv

    return map_convs(net, changed)


def map_convs(net: Network, change: Callable[[Conv], Conv]) -> Network:
    """Applies `change` to every convolution but the classifier."""
    return replace(net, nodes=tuple(_map_node(node, change) for node in net.nodes))


def _map_node(node: Node, change: Callable[[Conv], Conv]) -> Node:
    match node:
        case Conv():
            return change(node)
        case Branches():
            branches = tuple(
                (name, tuple(change(part) if isinstance(part, Conv) else part for part in branch))
                for name, branch in node.branches
            )
            return replace(node, branches=branches)
        case Residual():
            body = tuple(change(conv) for conv in node.body)
            return replace(node, body=body, shortcut=node.shortcut and change(node.shortcut))
        case NonLocal():
            theta, phi, g, out = (change(conv) for conv in (node.theta, node.phi, node.g, node.out))
            return replace(node, theta=theta, phi=phi, g=g, out=out)
        case _:
            return node
