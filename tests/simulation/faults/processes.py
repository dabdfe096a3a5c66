"""Processes that die, and processes that stand still: nodes one by one, in a minority, all at once; and programs."""

from __future__ import annotations

from tests.simulation.faults.scene import Scene, Strike


class ProcessFaults:
    """Crashes and pauses."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._dice = scene, scene.dice
        settings = scene.cluster.settings
        self._suspicion_s, self._lease_s = settings.suspicion_ms / 1_000, settings.lease_ms / 1_000

    def kinds(self) -> dict[str, Strike]:
        """By name."""
        return {"crash": self._crash, "crash of a minority": self._crash_minority, "crash of all": self._crash_all,
                "pause below suspicion": self._short_pause, "pause above suspicion": self._long_pause,
                "pause above a lease": self._lease_pause, "zombie primary": self._zombie, "client crash": self._client}

    def mend(self) -> None:
        """All run; those that were about to leave begin anew."""
        for node in self._scene.nodes.values():
            node.resume()
            if node.name in self._scene.leaving:
                node.crash()
            if not node.running:
                node.start()

    def _crash(self) -> bool:
        node, dice = self._scene.victim(), self._dice
        self._scene.cluster.refusals = dice.random() < 0.7
        was_running = node.running
        node.crash()
        self._scene.restart_later(node, dice.choice((0.02, 0.5, 2.0, 6.0)) * 2 * dice.random())
        return was_running

    def _crash_minority(self) -> bool:
        names = self._scene.shuffled()
        minority = names[:(len(names) - 1) // 2]
        for name in minority:
            self._scene.nodes[name].crash()
            self._scene.restart_later(self._scene.nodes[name], 4.0 * self._dice.random())
        return bool(minority)

    def _crash_all(self) -> bool:
        """A power cut: all at once, or all but one."""
        spared = self._scene.victim() if self._dice.random() < 0.5 else None
        for node in self._scene.nodes.values():
            if node is not spared:
                node.crash()
                self._scene.restart_later(node, 3.0 * self._dice.random())
        return True

    def _pause_for(self, seconds: float) -> bool:
        node = self._scene.victim()
        if not node.running or node.paused:
            return False
        node.pause()
        self._scene.later(seconds, node.resume)
        return True

    def _short_pause(self) -> bool:
        return self._pause_for(self._suspicion_s * (0.1 + 0.8 * self._dice.random()))

    def _long_pause(self) -> bool:
        return self._pause_for(self._suspicion_s * (1.1 + 3.0 * self._dice.random()))

    def _lease_pause(self) -> bool:
        return self._pause_for(self._lease_s * (1.1 + self._dice.random()))

    def _zombie(self) -> bool:
        """A primary stands still for longer than a lease, while some clients reach nobody else: what they ask waits for
        it. It wakes and does not know that all it had leased is another's by now; they stay with it for a while."""
        primary, network = self._scene.primary(), self._scene.cluster.network
        if primary is None or len(self._scene.nodes) < 2:
            return False
        others = [name for name in self._scene.nodes if name != primary.name]
        clients = self._scene.client_names(0.6)
        network.part(clients, others)
        primary.pause()

        def wake() -> None:
            primary.resume()
            self._scene.later(1.5 * self._dice.random(), lambda: network.rejoin(clients, others))
        self._scene.later(self._suspicion_s + self._lease_s * (1.0 + self._dice.random()), wake)
        return True

    def _client(self) -> bool:
        self._scene.workload.crash_one()
        return True
