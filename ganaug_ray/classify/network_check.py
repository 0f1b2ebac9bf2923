"""Checks the networks that a job names; torch is imported only when a name has to be looked up."""


def check_network(arch: str, input_size: int | None = None) -> None:
    """Raise ValueError if a network cannot be built.

    Args:
        arch: torchvision:NAME or timm:NAME.
        input_size: side of what it is given, in pixels; absent: not decided yet.

    Raises:
        ValueError: no such network, or it cannot work at that size.
    """
    from ganaug_ray.classify import backbones, networks

    backbones.read_facts(arch)
    if input_size is not None:
        networks.choose_input(arch, input_size, input_size, pretrained=False)
