"""The same network with thinner layers, for tests that need not pay for the full width."""

from dataclasses import replace

from common.arch.nodes import Branches, Conv, Network, Node, Pool


def narrow(net: Network, divisor: int) -> Network:
    """Divides the channels of every layer but the input and the classes; names stay."""
    nodes = (_narrow_node(node, divisor) for node in net.nodes)
    return replace(net, nodes=tuple(nodes))


def _narrow_node(node: Node, divisor: int) -> Node:
    if isinstance(node, Branches):
        branches = tuple(
            (name, tuple(_narrow_layer(part, divisor) for part in branch))
            for name, branch in node.branches
        )
        return replace(node, branches=branches)
    return _narrow_layer(node, divisor) if isinstance(node, Conv | Pool) else node


def _narrow_layer(layer: Conv | Pool, divisor: int) -> Conv | Pool:
    if isinstance(layer, Conv):
        return replace(layer, out_channels=max(layer.out_channels // divisor, 1))
    return layer
