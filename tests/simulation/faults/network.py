"""Bad weather, and cuts of every shape: a network in which who hears whom is nobody's choice."""

from __future__ import annotations

from tests.simulation.faults.scene import Scene, Strike
from zmqueue.testing import Traffic, Weather


class NetworkFaults:
    """Faults between machines. A cut stays until `heal` strikes, or the run grows calm."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._dice = scene, scene.dice
        self._network = scene.cluster.network

    def kinds(self) -> dict[str, Strike]:
        """By name."""
        return {"weather": self._weather, "halves": self._halves, "isolated": self._isolated,
                "isolated primary": self._isolated_primary, "one way": self._one_way,
                "heartbeats cut": self._heartbeats, "data cut": self._data, "bridge": self._bridge,
                "ring of majorities": self._ring, "client cut": self._client_cut, "heal": self._heal}

    def mend(self) -> None:
        """Fine weather, no cuts."""
        self._network.weather = Weather()
        self._network.heal()

    def _weather(self) -> bool:
        dice, scene = self._dice, self._scene
        self._network.weather = weather = Weather() if dice.random() < 0.3 else Weather(
            delay_max=dice.choice((0.001, 0.01, 0.1, 0.4)), loss=dice.choice((0.0, 0.01, 0.1, 0.3)),
            duplication=dice.choice((0.0, 0.05, 0.5)), overtaking=dice.choice((0.0, 0.05, 0.4)),
            late_max=dice.choice((0.05, 0.5, 3.0)), held=dice.choice((0.0, 0.5, 1.0)))
        scene.doubled = scene.doubled or weather.duplication > 0
        scene.latest = max(scene.latest, weather.delay_max + weather.late_max)
        return True

    def _heal(self) -> bool:
        self._network.heal()
        return True

    def _kind_of_traffic(self) -> tuple[Traffic, ...]:
        """All of it, or what goes over one of the two sockets."""
        return self._dice.choice(((), (), (), (Traffic.DATA,), (Traffic.HEARTBEATS,)))

    def _halves(self) -> bool:
        names = self._scene.shuffled()
        cut = self._dice.randint(1, max(1, len(names) // 2))
        some, others = names[:cut], names[cut:]
        for client in self._scene.cluster.clients:
            (some if self._dice.random() < 0.5 else others).append(client)
        self._network.part(some, others, *self._kind_of_traffic())
        return True

    def _isolated(self) -> bool:
        name = self._scene.victim().name
        others = [other for other in self._scene.nodes if other != name]
        if self._dice.random() < 0.5:
            others += list(self._scene.cluster.clients)
        self._network.part([name], others)
        return bool(others)

    def _isolated_primary(self) -> bool:
        """It keeps its clients, and loses its peers; some clients have nobody but it."""
        primary = self._scene.primary()
        if primary is None or len(self._scene.nodes) < 2:
            return False
        others = [name for name in self._scene.nodes if name != primary.name]
        self._network.part([primary.name], others, *self._kind_of_traffic())
        self._network.part(self._scene.client_names(0.5), others)
        return True

    def _some_others(self, name: str) -> list[str]:
        return [other for other in self._scene.shuffled()[:self._dice.randint(1, 5)] if other != name]

    def _one_way(self) -> bool:
        """One node is not heard by some, or does not hear them."""
        name, deaf = self._scene.victim().name, self._dice.random() < 0.5
        others, traffic = self._some_others(name), self._kind_of_traffic()
        for other in others:
            self._network.cut(*((other, name) if deaf else (name, other)), *traffic)
        return bool(others)

    def _heartbeats(self) -> bool:
        name = self._scene.victim().name
        others = self._some_others(name)
        for other in others:
            self._network.cut(name, other, Traffic.HEARTBEATS)
        return bool(others)

    def _data(self) -> bool:
        name = self._scene.victim().name
        others = self._some_others(name)
        self._network.part([name], others, Traffic.DATA)
        return bool(others)

    def _bridge(self) -> bool:
        """Two halves that only one node reaches both of."""
        names = self._scene.shuffled()
        middle = len(names) // 2
        self._network.part(names[:middle], names[middle + 1:], *self._kind_of_traffic())
        return len(names) > 2

    def _ring(self) -> bool:
        """On a circle of all nodes each sees its neighbours only: a majority, and for each another one."""
        names = self._scene.shuffled()
        many = len(names)
        reach = (many // 2 + 1) // 2       # neighbours on each side, so that with them it is a majority
        if 2 * reach + 1 >= many:
            return False                   # all see all
        for place, name in enumerate(names):
            for far in range(reach + 1, many - reach):
                self._network.cut(name, names[(place + far) % many])
        return True

    def _client_cut(self) -> bool:
        self._network.part([self._dice.choice(list(self._scene.cluster.clients))], [self._scene.victim().name])
        return True
