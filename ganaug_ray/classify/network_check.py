"""The check of a job's networks, for whoever reads a job: torch is imported only where a name is looked up."""


def check_network(arch: str, input_size: int | None = None) -> None:
    """Refuse a network that cannot be built.

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
