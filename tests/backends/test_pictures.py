"""Pictures as models take them: every format, upright, RGB, scaled; broken ones are one clear error."""

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.picture_files import (
    EXIF_ORIENTATION,
    bomb,
    data_url,
    encoded,
    photo,
    png_of_two,
    png_url,
    prompt_with,
    two_halves,
)

from backends.base import CancelToken
from backends.cancellation import Cancelled, cancellable
from backends.picture_decoding import PictureProblem, decode
from backends.pictures import Picture, read_pictures, smart_fit
from messages.content import Message, PromptInput
from messages.errors import ErrorCode, HostError
from messages.facts import PictureFigures

Size = tuple[int, int]
KINDS = [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp"), ("GIF", "gif"), ("BMP", "bmp"), ("AVIF", "avif")]


def as_it_is(width: int, height: int) -> Size:
    return width, height


def read(url: str, size: Size | None = None) -> Picture:
    (picture,) = read_pictures(prompt_with(url), as_it_is if size is None else lambda _width, _height: size)
    return picture


def problem(url: str) -> str:
    """What is said against a picture, behind its field."""
    with pytest.raises(HostError) as raised:
        read(url)
    assert raised.value.code is ErrorCode.INVALID_REQUEST
    fields = raised.value.details["fields"]
    assert isinstance(fields, list)
    assert raised.value.message == f"The request is not valid: {fields[0]}."
    return str(fields[0]).removeprefix("messages[0].content[1].data: ")


def near(pixel: object, colour: str, within: int = 40) -> bool:
    assert isinstance(pixel, tuple)
    wanted = Image.new("RGB", (1, 1), colour).getpixel((0, 0))
    assert isinstance(wanted, tuple)
    return all(abs(one - other) <= within for one, other in zip(pixel, wanted, strict=True))


@pytest.mark.parametrize(("kind", "media_type"), KINDS)
def test_every_format_is_read(kind: str, media_type: str) -> None:
    picture = read(data_url(encoded(two_halves(), kind), media_type))
    assert picture.figures == PictureFigures(width=80, height=40, scaled_width=80, scaled_height=40)
    assert picture.pixels.mode == "RGB"
    assert near(picture.pixels.getpixel((10, 30)), "red")
    assert near(picture.pixels.getpixel((70, 30)), "blue")


def test_openais_spelling_is_read_and_pictures_come_in_the_order_of_the_messages() -> None:
    def message(role: str, *colours: str) -> Message:
        urls = [png_url(Image.new("RGB", (28, 28), colour)) for colour in colours]
        parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        return Message.model_validate({"role": role, "content": parts})

    prompt = PromptInput(
        messages=(message("user", "red", "lime"), message("assistant", "blue"), message("user", "black"))
    )
    pictures = read_pictures(prompt, as_it_is)
    for picture, colour in zip(pictures, ("red", "lime", "blue", "black"), strict=True):
        assert near(picture.pixels.getpixel((0, 0)), colour, within=0)


def test_a_prompt_without_pictures_has_none() -> None:
    assert read_pictures(PromptInput(prompt="x"), as_it_is) == ()
    assert read_pictures(prompt_with(), as_it_is) == ()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "media_type"), [("JPEG", "jpeg"), ("PNG", "png"), ("WEBP", "webp")])
def test_a_picture_is_turned_as_its_exif_says(orientation: int, kind: str, media_type: str) -> None:
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # lies so that turning it right by 90 degrees makes it upright
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    lying = two_halves(160, 80)
    if orientation in turns:
        lying = lying.transpose(turns[orientation])
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    picture = read(data_url(encoded(lying, kind, exif=exif, quality=95), media_type), (80, 40))
    assert picture.figures == PictureFigures(width=160, height=80, scaled_width=80, scaled_height=40)
    assert near(picture.pixels.getpixel((10, 30)), "red")
    assert near(picture.pixels.getpixel((70, 30)), "blue")
    assert near(picture.pixels.getpixel((40, 3)), "lime")


def test_broken_exif_does_not_make_a_broken_picture() -> None:
    picture = read(data_url(encoded(two_halves(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"), "jpeg"))
    assert picture.pixels.size == (80, 40)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    picture = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 20, 40))
    pixels = read(png_url(picture.convert(mode))).pixels
    assert near(pixels.getpixel((30, 20)), "white", within=0)
    assert near(pixels.getpixel((10, 20)), "black", within=0)


@pytest.mark.parametrize(
    ("depth", "samples", "transparent", "seen"),
    [
        (1, (0, 1), (0,), (255, 255)),
        (2, (1, 2), (1,), (255, 170)),
        (4, (5, 10), (5,), (255, 170)),
        (8, (5, 10), (5,), (255, 10)),
        (16, (30_000, 257 * 200), (30_000,), (255, 200)),
        (16, (30_000, 257 * 200), (200,), (116, 200)),
        (16, (30_000, 0, 0, 257 * 200, 0, 0), (30_000, 0, 0), (255, 200)),
    ],
)
def test_a_pngs_transparent_colour_is_found_at_every_depth(
    depth: int, samples: tuple[int, ...], transparent: tuple[int, ...], seen: tuple[int, int]
) -> None:
    pixels = read(data_url(png_of_two(depth, samples, transparent), "png")).pixels
    assert list(pixels.getchannel("R").tobytes()) == list(seen)


def test_a_half_transparent_colour_is_mixed_with_white() -> None:
    assert near(read(png_url(Image.new("RGBA", (8, 8), (255, 0, 0, 128)))).pixels.getpixel((4, 4)), "#ff7f7f", within=2)


@pytest.mark.parametrize(("value", "grey"), [(0, 0), (257 * 100, 100), (65535, 255)])
def test_sixteen_bits_of_grey_become_eight(value: int, grey: int) -> None:
    pixels = read(png_url(Image.new("I;16", (8, 8), value))).pixels
    assert pixels.getpixel((4, 4)) == (grey, grey, grey)


def test_cmyk_grey_and_black_and_white_become_rgb() -> None:
    cmyk = read(data_url(encoded(two_halves().convert("CMYK"), "JPEG"), "jpeg")).pixels
    assert near(cmyk.getpixel((10, 30)), "red")
    assert read(png_url(Image.new("L", (8, 8), 77))).pixels.getpixel((4, 4)) == (77, 77, 77)
    assert read(png_url(Image.new("1", (8, 8), 1))).pixels.getpixel((4, 4)) == (255, 255, 255)


def test_a_cameras_jpeg_with_a_second_picture_in_it_is_read_as_its_first() -> None:
    """MPO: what many telephones write into a .jpg."""
    data = encoded(two_halves(800, 400), "MPO", save_all=True, append_images=[Image.new("RGB", (800, 400), "black")])
    picture = read(data_url(data, "jpeg"), (80, 40))
    assert picture.figures == PictureFigures(width=800, height=400, scaled_width=80, scaled_height=40)
    assert near(picture.pixels.getpixel((10, 30)), "red")
    assert near(picture.pixels.getpixel((70, 30)), "blue")


def test_of_an_animation_the_first_frame_is_read() -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    for kind, media_type in (("GIF", "gif"), ("WEBP", "webp"), ("PNG", "png")):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert near(read(data_url(data, media_type)).pixels.getpixel((20, 20)), "red"), kind


def test_equal_pixels_have_equal_digests_whatever_the_file() -> None:
    same = {read(data_url(encoded(two_halves(), kind), kind.lower())).digest for kind in ("PNG", "BMP")}
    assert len(same) == 1
    assert same != {read(png_url(two_halves(40, 80))).digest}
    wide, tall = (read(png_url(Image.new("RGB", size))).digest for size in ((8, 2), (2, 8)))
    assert wide != tall


def test_a_large_jpeg_is_scaled_to_the_same_picture_as_in_one_step() -> None:
    data = encoded(two_halves(2000, 1000), "JPEG", quality=95)
    pixels = read(data_url(data, "jpeg"), (112, 56)).pixels
    whole = two_halves(2000, 1000).resize((112, 56), Image.Resampling.BICUBIC)
    for place in ((10, 30), (100, 30), (56, 3), (10, 50)):
        wanted = whole.getpixel(place)
        assert isinstance(wanted, tuple)
        assert near(pixels.getpixel(place), f"rgb{wanted}", within=12)


@pytest.mark.parametrize(("kind", "media_type"), KINDS)
def test_a_cancelled_picture_is_not_decoded(kind: str, media_type: str) -> None:
    url = data_url(encoded(two_halves(), kind), media_type)
    cancel = CancelToken()
    with cancellable(cancel):
        assert read(url).width == 80
        cancel.cancel()
        with pytest.raises(Cancelled):
            read(url)
    assert read(url).width == 80


class CancelledAtTheTenthLook(CancelToken):
    looks = 0

    @property
    def cancelled(self) -> bool:
        self.looks += 1
        return self.looks == 10


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_cancellation_is_seen_in_the_middle_of_a_large_picture(kind: str) -> None:
    url = data_url(encoded(Image.effect_noise((2000, 1500), 60), kind), kind.lower())
    with cancellable(CancelledAtTheTenthLook()), pytest.raises(Cancelled):
        read(url)


def test_what_is_not_base64_is_refused() -> None:
    for text in ("AAA", "AA=A", "A A=", "AAAA====", "Ä" * 4, "AAAA%3D"):
        assert problem(f"data:image/png;base64,{text}").startswith("is not valid base64"), text


def test_what_is_no_picture_is_refused() -> None:
    for data in (b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"MZ" + bytes(100)):
        assert problem(data_url(data, "png")) == "says that it is PNG, and its content is no picture of a known format"


@pytest.mark.parametrize(("kind", "media_type"), KINDS)
def test_a_type_that_is_not_the_contents_is_refused_by_both_names(kind: str, media_type: str) -> None:
    other = "jpeg" if kind == "PNG" else "png"
    text = problem(data_url(encoded(two_halves(), kind), other))
    assert text == f"says that it is {other.upper()}, and its content is {kind}"


@pytest.mark.parametrize(("kind", "media_type"), KINDS)
def test_a_truncated_picture_is_refused(kind: str, media_type: str) -> None:
    data = encoded(two_halves(400, 300), kind)
    for share in (0.2, 0.5, 0.9):
        text = problem(data_url(data[: int(len(data) * share)], media_type))
        assert text.startswith(f"is a broken or truncated {kind} picture: "), share


@pytest.mark.parametrize("side", [10_000, 100_000, 2_000_000_000])
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    data = bomb(side, side)
    assert len(data) < 2000
    assert problem(data_url(data, "png")).endswith("50 million are the most; make the picture smaller")


def test_a_picture_that_is_all_length_is_refused() -> None:
    assert problem(png_url(Image.new("RGB", (2010, 10)))) == "is 2010 x 10 pixels: one side is over 200 times the other"


def test_more_pictures_than_the_model_takes_are_refused_before_one_is_read() -> None:
    with pytest.raises(HostError) as raised:
        read_pictures(prompt_with(*["data:image/png;base64,AAAA"] * 3), as_it_is, most=2)
    assert raised.value.details["fields"] == ["messages: has 3 pictures, and this model takes at most 2 a request"]


def test_the_error_names_the_message_and_the_part() -> None:
    good, bad = ({"type": "image", "data": url} for url in (png_url(two_halves()), data_url(b"x", "png")))
    in_url = {"type": "image_url", "image_url": {"url": data_url(b"x", "png")}}
    for part, field in ((bad, "messages[1].content[1].data"), (in_url, "messages[1].content[1].image_url.url")):
        messages = [{"role": "system", "content": "x"}, {"role": "user", "content": [good, part]}]
        with pytest.raises(HostError) as raised:
            read_pictures(PromptInput.model_validate({"messages": messages}), as_it_is)
        assert raised.value.message.startswith(f"The request is not valid: {field}: says that")


@pytest.mark.parametrize(("kind", "media_type"), KINDS)
def test_whatever_the_bytes_it_is_a_picture_or_a_problem(kind: str, media_type: str) -> None:
    chance = random.Random(7)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    options = {} if kind in ("GIF", "BMP") else {"exif": exif}
    whole = encoded(two_halves(64, 48), kind, **options)
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 2, 4, 16))):
            data[chance.randrange(chance.choice((64, len(data))))] = chance.randrange(256)
        with contextlib.suppress(PictureProblem):
            pixels, _, _ = decode(bytes(data), kind, lambda _width, _height: (28, 28))
            assert (pixels.mode, pixels.size) == ("RGB", (28, 28))


def test_qwens_sizes_are_those_of_its_own_rule() -> None:
    fit = smart_fit(28, 56 * 56, 1280 * 28 * 28)
    known = {
        (640, 480): (644, 476),
        (4000, 3000): (1148, 840),
        (28, 28): (56, 56),
        (100, 1): (560, 28),
        (1000, 1000): (1008, 1008) if 1008 * 1008 <= 1280 * 784 else (980, 980),
    }
    assert {size: fit(*size) for size in known} == known


@given(
    width=st.integers(1, 12_000),
    height=st.integers(1, 12_000),
    factor=st.sampled_from([14, 28, 32]),
    least=st.integers(1, 64),
    more=st.integers(4, 64),
)
def test_a_fitted_size_is_in_bounds_in_step_and_stays_as_it_is(
    width: int, height: int, factor: int, least: int, more: int
) -> None:
    low, high = least * factor * factor, least * more * factor * factor
    fit = smart_fit(factor, low, high)
    fitted = fit(width, height)
    assert [side % factor for side in fitted] == [0, 0]
    assert fitted[0] * fitted[1] <= high
    if max(width, height) <= 200 * min(width, height) and least <= 4:
        assert fit(*fitted) == fitted


def test_a_photo_of_twelve_megapixels_is_scaled_to_what_the_model_takes() -> None:
    data = photo(4000, 3000)
    assert len(data) > 1_000_000
    picture = read(data_url(data, "jpeg"), (1148, 840))
    assert picture.figures == PictureFigures(width=4000, height=3000, scaled_width=1148, scaled_height=840)
