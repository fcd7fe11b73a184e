# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: state_report
type: aggregate
short_description: Report each phase to Kubestead's State API, count round trips, sum up the run
version_added: "0.1.0"
author: Kubestead contributors (@kubestead)
description:
  - "Reports to the State API how a run goes, for each host with the inventory variable C(machine_mac): the
    state C(provisioning) with phase, progress and present task, C(failed) with the reason, and at the end
    C(ready) when the phase C(validate) has passed, C(provision) was its last, or it was ready before, else
    C(installed). A play's phase is what its variable C(kubestead_phase) says."
  - The status of the feature C(kubernetes) of a host in the groups C(control_plane) or C(worker) is C(ready)
    when C(validate) has passed, C(failed) when a phase of the cluster has failed or was cut off, C(removed)
    after C(reset); other phases leave it.
  - Nothing is reported of a play with the variable C(kubestead_reports=false), which belongs to a phase, but
    works on machines that may have no system yet.
  - What a module returns as C(kubestead_data), a dictionary, is kept as data of the machine, by its keys.
    M(kubestead.homelab.kubeadm_join) tells so how a machine has joined.
  - A thread in the background sends the reports, those of a moment as one. The run neither waits nor fails
    for the State API. While it does not answer the reports wait; where it never did, a warning at the end
    says so. What it refuses, because the machine is being installed or is retired, a warning says too.
  - "At the end it shows for each host how many tasks went to it, its round trips: they are what a run's time
    is made of."
  - In check mode nothing is reported, since nothing happens.
  - Modules that this run has put together are kept for the next one, in C(~/.cache/kubestead/payloads)
    (E(KUBESTEAD_CACHE)), until a file that they are made of changes. It is done for those of Ansible, of this
    collection and of C(kubernetes.core); a run with nothing to do spends much of its time on that.
  - What Ansible prints is there line by line as it happens, also in a pipe or a file.
requirements:
  - To be enabled, C(callbacks_enabled = kubestead.homelab.state_report) in C(ansible.cfg).
notes:
  - Of C(machine_mac) the text counts as the inventory or C(--extra-vars) have it, without templates.
extends_documentation_fragment:
  - kubestead.homelab.state_api
  - kubestead.homelab.state_api.plugin
options:
  api_url:
    description: Where the State API is; without it, the first host of group C(state_api), if there is one.
  api_token_file:
    description: The file with the token; without it, where role C(state_api) leaves it on the controller.
  api_ca_file:
    description:
      - The certificate authority of an C(https) address; without it, where role C(state_api) leaves it on
        the controller, else the system's.
  api_timeout:
    description: Seconds to wait for an answer.
    default: 2
  interval:
    description: Seconds between two reports about a host's present task within one phase.
    type: float
    default: 10
    env:
      - name: KUBESTEAD_REPORT_INTERVAL
    ini:
      - section: callback_kubestead_state_report
        key: interval
  summary_file:
    description: A file for a summary of the run in JSON, with the phases, the hosts and the first failure.
    type: path
    env:
      - name: KUBESTEAD_SUMMARY_FILE
    ini:
      - section: callback_kubestead_state_report
        key: summary_file
  show_round_trips:
    description: Whether to show the round trips at the end.
    type: bool
    default: true
    env:
      - name: KUBESTEAD_SHOW_ROUND_TRIPS
    ini:
      - section: callback_kubestead_state_report
        key: show_round_trips
"""

EXAMPLES = r"""
# ansible.cfg
# [defaults]
# callbacks_enabled = kubestead.homelab.state_report
#
# Where no host of the inventory is in the group state_api:
#
# export KUBESTEAD_API_URL=https://10.0.0.10:8080
# export KUBESTEAD_API_TOKEN_FILE=~/.config/kubestead/token KUBESTEAD_API_CA_FILE=~/.config/kubestead/ca.crt
# ansible-playbook -i inventory/homelab-pxe playbooks/deploy.yml
"""

import atexit
import io
import os
import sys
import time
import typing as t
import uuid

from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible.template import Templar
from ansible_collections.kubestead.homelab.plugins.module_utils import lifecycle
from ansible_collections.kubestead.homelab.plugins.module_utils.phases import (
    PROVISION,
    RESET,
    VALIDATE,
    kubernetes_status,
    progress,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_client import StateApiClient
from ansible_collections.kubestead.homelab.plugins.plugin_utils import payload_cache, round_trips
from ansible_collections.kubestead.homelab.plugins.plugin_utils.messages import (
    failed_part,
    failure_message,
    plain,
)
from ansible_collections.kubestead.homelab.plugins.plugin_utils.reporter import Report, Reporter
from ansible_collections.kubestead.homelab.plugins.plugin_utils.run_record import (
    DECLINED,
    HOST_UNREACHABLE,
    PHASE_FAILED,
    SOFTWARE_UNREACHABLE,
    Failure,
    HostCounts,
    RunRecord,
    write_summary,
)
from ansible_collections.kubestead.homelab.plugins.plugin_utils.state_api import Place, find, option_variables
from ansible_collections.kubestead.homelab.plugins.plugin_utils.warm_start import load_filters

_NODE_GROUPS = frozenset({"control_plane", "worker"})
_FLUSH = 3.0
_FLUSH_AT_EXIT = 1.5


class _Result:
    """A task result, by the names that ansible-core 2.19 has, on older ones too."""

    def __init__(self, result: t.Any) -> None:
        new = hasattr(result, "host")
        self.host = result.host if new else result._host
        self.task = result.task if new else result._task
        self.data: t.Mapping[str, t.Any] = result.result if new else result._result


class CallbackModule(CallbackBase):
    """Tells the State API, and at the end the reader, how a run went."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kubestead.homelab.state_report"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self._record = RunRecord()
        self._playbook = ""
        self._play: t.Any = None
        self._reporter: t.Optional[Reporter] = None
        self._reporting: t.Optional[bool] = None  # None: not decided yet
        self._phase_of: t.Dict[
            str, str
        ] = {}  # by host: the phase that it takes part in, or took part in last
        self._macs: t.Dict[str, str] = {}
        self._nodes: t.Set[str] = set()  # hosts that are, or are to be, nodes of a cluster
        self._reported_at: t.Dict[str, float] = {}
        self._running = False
        self._silent = False
        self._process = os.getpid()
        self._payloads: t.Optional[payload_cache.PayloadCache] = None

    # The course of the run

    def v2_playbook_on_start(self, playbook: t.Any) -> None:
        """Begin."""
        self._playbook = self._playbook or os.path.basename(str(playbook._file_name))
        if not self._running:
            self._running = True
            atexit.register(self._at_exit)
            self._drop_old_summary()
            if isinstance(sys.stdout, io.TextIOWrapper):
                # Ansible never flushes: through a pipe a person would see nothing for minutes.
                sys.stdout.reconfigure(line_buffering=True)
            load_filters()
            self._payloads = payload_cache.of_this_run()
            self._payloads.bring()

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        """Go on to the phase that the play belongs to."""
        self._play = play
        phase = play.get_vars().get("kubestead_phase")
        self._record.enter(str(phase) if phase else None)
        self._silent = play.get_vars().get("kubestead_reports") is False

    def v2_runner_on_start(self, host: t.Any, task: t.Any) -> None:
        """Report what a host is at: each phase when it begins, then its present task from time to time."""
        phase = self._record.phase
        if phase is None or self._silent:
            return
        name = host.get_name()
        now = time.monotonic()
        begins = self._phase_of.get(name) != phase
        if begins:
            self._phase_of[name] = phase
        elif now < self._reported_at.get(name, 0.0) + self.get_option("interval"):
            return
        self._reported_at[name] = now
        if self._mac(host) and self._may_report(host):
            message = phase if begins else plain(task.get_name())
            self._report(name, lifecycle.PROVISIONING, message, phase=phase, share=progress(phase))

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """Count, and report what is to be kept."""
        known = _Result(result)
        self._count(known)
        self._keep(known)

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        """Count, where the module did the skipping."""
        self._count(_Result(result), skipped=True)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        """Count, and note the failure."""
        known = _Result(result)
        self._count(known)
        if not ignore_errors:
            kind = failed_part(known.data).get("kubestead_failure") or known.data.get("kubestead_failure")
            self._fail(known, kind if kind in (SOFTWARE_UNREACHABLE, DECLINED) else PHASE_FAILED)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        """Note the failure; it was no round trip."""
        known = _Result(result)
        if not known.task.ignore_unreachable:
            self._fail(known, HOST_UNREACHABLE)

    def v2_runner_item_on_ok(self, result: t.Any) -> None:
        """Count."""
        self._count(_Result(result), item=True)

    def v2_runner_item_on_failed(self, result: t.Any) -> None:
        """Count."""
        self._count(_Result(result), item=True)

    def v2_runner_item_on_skipped(self, result: t.Any) -> None:
        """Count, where the module did the skipping."""
        self._count(_Result(result), item=True, skipped=True)

    def v2_runner_retry(self, result: t.Any) -> None:
        """Count each attempt."""
        self._count(_Result(result), item=True)

    def v2_runner_on_async_poll(self, result: t.Any) -> None:
        """Count each look at a task in the background."""
        self._count(_Result(result), item=True)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """Sum up: last reports, round trips, summary."""
        counts = {host: stats.summarize(host) for host in sorted(stats.processed)}
        failed = {host for host, count in counts.items() if count["failures"] or count["unreachable"]}
        failure = self._record.end(failed)
        self._running = False
        if self._payloads is not None:
            self._payloads.keep()
        self._show_round_trips(counts)
        self._settle(failed, failure)
        hosts: HostCounts = {
            host: {
                "ok": count["ok"],
                "changed": count["changed"],
                "failed": count["failures"],
                "unreachable": count["unreachable"],
                "skipped": count["skipped"],
                "round_trips": self._record.round_trips.get(host, 0),
            }
            for host, count in counts.items()
        }
        path = self.get_option("summary_file")
        if path:
            try:
                write_summary(path, self._record.summary(self._playbook, hosts, failure))
            except OSError as error:
                self._display.warning(f"The run's summary could not be written to {path}: {error.strerror}")

    # Round trips

    def _count(self, result: _Result, item: bool = False, skipped: bool = False) -> None:
        task = result.task
        if round_trips.on_controller(str(task.action)):
            return
        if skipped and round_trips.skipped_before_connecting(result.data):
            return
        if not item and (task.loop is not None or task.loop_with):
            return  # its items have been counted
        self._record.count(str(task.delegate_to or result.host.get_name()))

    def _show_round_trips(self, counts: t.Mapping[str, t.Any]) -> None:
        if not self.get_option("show_round_trips") or not self._record.round_trips:
            return
        self._display.banner("ROUND TRIPS")
        for host in sorted({*counts, *self._record.round_trips}):
            self._display.display(f"{host:<26} : {self._record.round_trips.get(host, 0)}")
        self._display.display("")

    # Failures

    def _fail(self, result: _Result, kind: str) -> None:
        host = result.host.get_name()
        failure = Failure(
            kind=kind,
            host=host,
            phase=self._record.phase,
            task=plain(result.task.get_name()),
            message=failure_message(result.data),
            rescuable=_rescuable(result.task),
        )
        self._record.failures.append(failure)
        if self._silent:
            return
        if not failure.rescuable and failure.phase is not None and self._mac(result.host):
            self._phase_of[host] = failure.phase
            if self._may_report(result.host):
                self._report_failure(failure)

    def _report_failure(self, failure: Failure) -> None:
        phase = failure.phase or ""
        self._report(
            failure.host,
            lifecycle.FAILED,
            f"{phase}: {failure.task}",
            phase=phase,
            share=progress(phase),
            error=failure.message,
            kubernetes=kubernetes_status(phase, passed=False),
        )

    # Reports

    def _mac(self, host: t.Any) -> str:
        name = host.get_name()
        if name not in self._macs:
            self._macs[name] = str(host.get_vars().get("machine_mac") or "")
            if _NODE_GROUPS.intersection(group.get_name() for group in host.get_groups()):
                self._nodes.add(name)
        return self._macs[name]

    def _may_report(self, host: t.Any) -> bool:
        """Decide once, with the variables of the first host in question, whether to report, and where."""
        if self._reporting is None:
            manager = self._play.get_variable_manager()
            variables = manager.get_vars(play=self._play, host=host)
            templar = Templar(loader=self._play.get_loader(), variables=variables)
            self.set_options(var_options=option_variables(variables, templar))
            place = find(self.get_option, variables)
            self._reporting = bool(place.url and place.token_file and not context.CLIARGS.get("check"))
            if self._reporting:
                self._reporter = Reporter(self._connector(place))
        return self._reporting

    def _connector(self, place: Place) -> t.Callable[[], StateApiClient]:
        timeout = self.get_option("api_timeout")
        run = uuid.uuid4().hex

        def connect() -> StateApiClient:
            return place.address().connect(timeout, correlation_id=run)

        return connect

    def _report(
        self,
        host: str,
        state: str,
        message: str,
        *,
        phase: t.Optional[str],
        share: t.Optional[int],
        error: t.Optional[str] = None,
        settle: bool = False,
        kubernetes: t.Optional[str] = None,
        data: t.Optional[t.Mapping[str, t.Any]] = None,
    ) -> None:
        if host not in self._nodes:
            kubernetes = None
        if self._reporter is not None:
            mac = self._macs[host]
            self._reporter.add(
                Report(host, mac, state, phase, share, message, error, settle, kubernetes, data or {})
            )

    def _keep(self, result: _Result) -> None:
        """Report what a module wants kept of its machine."""
        data, phase = result.data.get("kubestead_data"), self._record.phase
        if not data or phase is None or self._silent or not self._mac(result.host):
            return
        if self._may_report(result.host):
            task = plain(result.task.get_name())
            name = result.host.get_name()
            self._report(name, lifecycle.PROVISIONING, task, phase=phase, share=progress(phase), data=data)

    def _settle(self, failed: t.Collection[str], failure: t.Optional[Failure]) -> None:
        """Report how each machine is left, and see the reports off."""
        if self._reporter is None:
            return
        stopped = f"; the run ended when {failure.host} failed" if failure else ""
        for host, phase in self._phase_of.items():
            if not self._macs.get(host):
                continue
            if host in failed:
                own = [one for one in self._record.failures if one.host == host]
                if own and all(one.rescuable for one in own):
                    self._report_failure(own[-1])
            elif phase == RESET:
                left = kubernetes_status(RESET, passed=True)
                text = "the cluster was taken away"
                self._report(host, lifecycle.INSTALLED, text, phase=phase, share=0, kubernetes=left)
            elif phase == PROVISION or self._record.passed(VALIDATE):
                left = kubernetes_status(phase, passed=True)
                self._report(host, lifecycle.READY, "ready", phase=phase, share=100, kubernetes=left)
            else:
                share = progress(phase, done=not failure)
                message = f"{phase}{stopped or ' done'}"
                self._report(host, lifecycle.INSTALLED, message, phase=phase, share=share, settle=True)
        self._reporter.flush(_FLUSH)
        self._warn()

    def _warn(self) -> None:
        reporter = self._reporter
        if reporter is None:
            return
        if reporter.refused:
            share = f"{reporter.refused} of {reporter.sent + reporter.refused} reports"
            first = reporter.first_refusal
            self._display.warning(
                f"The State API refused {share}; the first, of {first}. The run is not affected."
            )
        if reporter.waiting:
            reason = reporter.unreachable or "it is too slow"
            self._display.warning(
                f"{reporter.waiting} reports did not reach the State API ({reason}); the run is not affected."
            )

    # Beginning and end of the process

    def _drop_old_summary(self) -> None:
        """A run that is cut off leaves no summary, rather than that of the run before."""
        path = self.get_option("summary_file")
        if path:
            try:
                os.unlink(path)
            except OSError:
                return  # none there, or not to be written either: the end of the run says so

    def _at_exit(self) -> None:
        """The run was cut off: say so of each machine that was being worked on."""
        if not self._running or self._reporter is None or os.getpid() != self._process:
            return
        failed = {failure.host for failure in self._record.failures if not failure.rescuable}
        for host, phase in self._phase_of.items():
            if self._macs.get(host) and host not in failed:
                self._report(
                    host,
                    lifecycle.FAILED,
                    f"{phase}: cut off",
                    phase=phase,
                    share=progress(phase),
                    error="the run was cut off; run it again to go on",
                    kubernetes=kubernetes_status(phase, passed=False),
                )
        self._reporter.flush(_FLUSH_AT_EXIT)


def _rescuable(task: t.Any) -> bool:
    """Tell whether a task stands in the first part of a block that has a rescue."""
    # An imported role's blocks stand in the block in place of the import, which is their parent all the same.
    passed, outer = {task._uuid}, task._parent
    while outer is not None:
        if getattr(outer, "rescue", None) and any(one._uuid in passed for one in outer.block):
            return True
        passed.add(outer._uuid)
        outer = outer._parent
    return False
