"""BOX_AUGMENTATIONS: what a config may do by name to training images and their boxes, all of it torchvision's."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lightframe.errors import UsageError
from lightframe.registry import Registry

BOX_AUGMENTATIONS = Registry("augmentation of images with boxes")

# ImageNet's mean, which detectors normalise to 0: what they fill up their batches with.
_GREY = (124, 116, 104)


@BOX_AUGMENTATIONS.register("flip")
def flip(p: float = 0.5) -> Callable[..., Any]:
    """Mirrors left and right."""
    from torchvision.transforms import v2

    return v2.RandomHorizontalFlip(p)


@BOX_AUGMENTATIONS.register("scale_jitter")
def scale_jitter(
    scale: tuple[float, float] | list[float] = (0.5, 1.5), translate: tuple[float, float] | list[float] = (0.1, 0.1)
) -> Callable[..., Any]:
    """Enlarges or shrinks what is seen, and moves it by at most these shares of the width and the height.

    The image keeps its size: torchvision's ScaleJitter changes that instead, which detectors undo, as they scale all
    images to theirs.
    """
    from torchvision.transforms import v2

    mode = v2.InterpolationMode.BILINEAR
    return v2.RandomAffine(0, translate=list(translate), scale=list(scale), interpolation=mode, fill=list(_GREY))


@BOX_AUGMENTATIONS.register("photometric")
def photometric(
    brightness: tuple[float, float] | list[float] = (0.875, 1.125),
    contrast: tuple[float, float] | list[float] = (0.5, 1.5),
    saturation: tuple[float, float] | list[float] = (0.5, 1.5),
    hue: tuple[float, float] | list[float] = (-0.05, 0.05),
    p: float = 0.5,
) -> Callable[..., Any]:
    """Changes brightness, contrast, saturation, hue and the order of the channels, each with probability p, as SSD."""
    from torchvision.transforms import v2

    ranges = (tuple(values) for values in (brightness, contrast, saturation, hue))
    return v2.RandomPhotometricDistort(*ranges, p=p)


@BOX_AUGMENTATIONS.register("zoom_out")
def zoom_out(side_range: tuple[float, float] | list[float] = (1.0, 4.0), p: float = 0.5) -> Callable[..., Any]:
    """Puts the image somewhere on a grey canvas whose sides are so many times as long, as SSD."""
    from torchvision.transforms import v2

    return v2.RandomZoomOut(fill=list(_GREY), side_range=tuple(side_range), p=p)


@BOX_AUGMENTATIONS.register("iou_crop")
def iou_crop(
    min_scale: float = 0.3, max_scale: float = 1.0, min_aspect_ratio: float = 0.5, max_aspect_ratio: float = 2.0
) -> Callable[..., Any]:
    """Crops so that some box is seen to a random share at least, and leaves out those whose centre is not, as SSD."""
    from torchvision.transforms import v2

    return v2.RandomIoUCrop(min_scale, max_scale, min_aspect_ratio, max_aspect_ratio)


@BOX_AUGMENTATIONS.register("shortest_size")
def shortest_size(min_size: int | list[int], max_size: int | None = None) -> Callable[..., Any]:
    """Scales so that the shorter side is one of `min_size` pixels, and the longer side no more than `max_size`.

    A detector scales to its own size afterwards: give that as a range too, or leave this out.
    """
    from torchvision.transforms import v2

    return v2.RandomShortestSize(min_size, max_size)


@BOX_AUGMENTATIONS.register("resize")
def resize(size: int | list[int], max_size: int | None = None) -> Callable[..., Any]:
    """Scales the shorter side, or height and width, to `size` pixels: less for the workers to hand over."""
    from torchvision.transforms import v2

    return v2.Resize(size, max_size=max_size, antialias=True)


def build_box_augment(spec: Any) -> list[Callable[..., Any]]:
    """The transforms that a config asks for, in their order.

    Args:
        spec: a name in BOX_AUGMENTATIONS or the import path of a class of transforms; {name: {argument: value}}, where
            None stands for no arguments and False leaves it out; a callable on (image, {boxes, labels}); a list of
            these; None.

    Raises:
        UsageError: another form, an unknown name, or arguments that do not fit.

    >>> build_box_augment([{"flip": {"p": 1.0}}, "torchvision.transforms.v2.RandomGrayscale"])
    [RandomHorizontalFlip(p=1.0), RandomGrayscale(p=0.1)]
    """
    return list(_each(spec))


def _each(spec: Any) -> Iterator[Callable[..., Any]]:
    if isinstance(spec, str):
        yield _build(spec, {})
    elif isinstance(spec, Mapping):
        for name, arguments in spec.items():
            if arguments is not False:
                yield _build(name, {} if arguments in (None, True) else arguments)
    elif isinstance(spec, Sequence):
        for one in spec:
            yield from _each(one)
    elif callable(spec):
        yield spec
    elif spec is not None:
        raise UsageError(
            f"augment: give names, {{name: {{argument: value}}}}, callables or a list of these, not {spec!r}"
        )


def _build(name: Any, arguments: Any) -> Callable[..., Any]:
    if not isinstance(name, str) or not isinstance(arguments, Mapping):
        raise UsageError(f"augment: give {{name: {{argument: value}}}}, not {{{name!r}: {arguments!r}}}")
    try:
        made = BOX_AUGMENTATIONS.build(name, **arguments)
    except UsageError:
        raise
    except (TypeError, ValueError) as error:
        raise UsageError(f"augmentation '{name}': {error}") from error
    if not callable(made):
        raise UsageError(f"augmentation '{name}' makes a {type(made).__name__}, which cannot be called")
    return made
