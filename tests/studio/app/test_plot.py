"""The plot widget: only what changed is painted again."""

import asyncio

from textual.app import App, ComposeResult
from textual.geometry import Region

from gptstudio.app.widgets.plot import Line, Plot
from gptstudio.services.curves import Curve

SLOWER = Curve.of(range(1, 61), [4 / (1 + n / 16) + 1 for n in range(60)])


class PlotApp(App[None]):
    CSS = "Plot { border: round $primary; padding: 0 1; }"

    def compose(self) -> ComposeResult:
        yield Plot("loss")


class Repaints:
    """What a plot has had repainted."""

    def __init__(self, plot: Plot) -> None:
        self.regions: list[Region] = []
        self.whole = 0
        self._refresh = plot.refresh
        plot.refresh = self._note  # type: ignore[method-assign, assignment]

    def _note(self, *regions: Region, **options: bool) -> Plot:
        self.regions.extend(regions)
        self.whole += not regions
        return self._refresh(*regions, **options)  # type: ignore[return-value]


def on_screen(plot: Plot) -> list[list[tuple[str, str]]]:
    """The characters of a plot with their styles."""
    return [
        [(character, str(style)) for text, style, _ in plot.render_line(y) for character in text]
        for y in range(plot.size.height)
    ]


def grown(count: int) -> list[Line]:
    return [
        Line("train", Curve.of(range(1, count + 1), [5 / (1 + n / 50) for n in range(count)])),
        Line("val", Curve.of([60, 120], [3.5, 2.5]), "second"),
    ]


def test_only_what_changed_is_painted_again() -> None:
    async def drive() -> None:
        async with PlotApp().run_test(size=(80, 24)) as pilot:
            plot = pilot.app.query_one(Plot)
            plot.show(grown(230))
            await pilot.pause()
            repaints = Repaints(plot)
            before = on_screen(plot)
            plot.show(grown(230))
            assert not repaints.regions
            plot.show(grown(233))
            assert not repaints.whole
            painted = sum(region.area for region in repaints.regions)
            assert 0 < painted < 60
            after = on_screen(plot)
            for y, (old, new) in enumerate(zip(before, after, strict=True)):
                for x in range(plot.size.width):
                    if old[x] != new[x]:
                        assert any(region.contains(x, y) for region in repaints.regions)

    asyncio.run(drive())


def test_settings_are_drawn_at_once() -> None:
    async def drive() -> None:
        async with PlotApp().run_test(size=(80, 24)) as pilot:
            plot = pilot.app.query_one(Plot)
            plot.show(grown(230))
            await pilot.pause()
            for name, value in {
                "log_scale": True,
                "axis": "time",
                "smoothing": 0.9,
                "last": 50.0,
                "ascii": True,
                "unit": "bytes",
                "title": "other",
            }.items():
                before = on_screen(plot)
                setattr(plot, name, value)
                assert on_screen(plot) != before, name

    asyncio.run(drive())


def test_a_plot_that_does_not_follow_stays_where_it_is() -> None:
    async def drive() -> None:
        async with PlotApp().run_test(size=(80, 24)) as pilot:
            plot = pilot.app.query_one(Plot)
            plot.last = 100.0
            plot.show(grown(300)[:1])
            await pilot.pause()
            plot.follow = False
            before = on_screen(plot)[1:]
            plot.show(grown(900)[:1])
            moved = [y for y, row in enumerate(on_screen(plot)[1:]) if row != before[y]]
            assert len(moved) <= 1  # the line goes on beyond the right end
            plot.follow = True
            assert on_screen(plot)[-1] != before[-1]

    asyncio.run(drive())


def test_a_plot_takes_any_size_and_theme() -> None:
    async def drive() -> None:
        async with PlotApp().run_test(size=(80, 24)) as pilot:
            plot = pilot.app.query_one(Plot)
            plot.show([*grown(230), Line("a\x1b[31m[b]名前", SLOWER, "overlay")], "message")
            for size in ((10, 5), (5, 3), (130, 45), (16, 8), (80, 24)):
                await pilot.resize_terminal(*size)
                await pilot.pause()
                width, height = plot.size
                assert all(plot.render_line(y).cell_length == width for y in range(height))
            assert "[b]" in plot.render_line(0).text
            assert plot.render_line(99).cell_length == plot.size.width
            before = on_screen(plot)
            pilot.app.theme = "textual-light"
            await pilot.pause()
            after = on_screen(plot)
            assert before != after
            assert [[c for c, _ in row] for row in before] == [[c for c, _ in row] for row in after]

    asyncio.run(drive())


def test_shown_before_it_has_a_size() -> None:
    class Early(App[None]):
        def compose(self) -> ComposeResult:
            plot = Plot()
            plot.show(grown(200))
            plot.smoothing = 0.5
            yield plot

    async def drive() -> None:
        async with Early().run_test(size=(60, 16)) as pilot:
            plot = pilot.app.query_one(Plot)
            assert "train" in plot.render_line(0).text
            assert any("●" in plot.render_line(y).text for y in range(plot.size.height))

    asyncio.run(drive())
