"""The tools together, by their names."""

from collections.abc import Mapping

from gptstudio.demo_data.base import DemoTool
from gptstudio.demo_data.calculator import Calculator
from gptstudio.demo_data.cities import Clock, Weather
from gptstudio.demo_data.convert import Convert
from gptstudio.demo_data.look_up import LookUp

DEMO_TOOLS: Mapping[str, DemoTool] = {
    tool.name: tool for tool in (Calculator(), Weather(), Clock(), Convert(), LookUp())
}
