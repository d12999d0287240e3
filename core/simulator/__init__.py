"""Simulated providers, as strict as the real ones: behind the demo, the tests and the benchmark.

They restate the providers' facts and import nothing else of core, or they would only agree with it.
"""

from core.simulator.exchange import Fault, Recorded
from core.simulator.scenario import SCENARIOS, Scenario, WindowSpec
from core.simulator.server import Simulator

__all__ = ["SCENARIOS", "Fault", "Recorded", "Scenario", "Simulator", "WindowSpec"]
