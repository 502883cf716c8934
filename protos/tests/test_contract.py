"""Contract rules that buf cannot check, read from the wheel's descriptor set."""

import re
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files

import pytest
from adplatform.options.v1 import options_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet, MethodDescriptorProto, MethodOptions

IDENTITIES = {
    "auth-service",
    "campaign-service",
    "payment-service",
    "publisher-service",
    "analytics-service",
    "pixel-service",
    "scheduler",
    "operator",
}
DESCRIBED = FileDescriptorSet.FromString((files("adplatform") / "gateway.pb").read_bytes())
MESSAGES = {f".{file.package}.{message.name}": message for file in DESCRIBED.file for message in file.message_type}


@dataclass(frozen=True)
class Rpc:
    name: str
    method: MethodDescriptorProto

    @property
    def auth(self) -> options_pb2.Auth:
        return self.method.options.Extensions[options_pb2.auth]

    @property
    def request(self) -> DescriptorProto:
        return MESSAGES[self.method.input_type]

    @property
    def routes(self) -> list[tuple[str, str]]:
        """The HTTP method and the path of each binding."""
        if not self.method.options.HasExtension(annotations_pb2.http):
            return []
        rule = self.method.options.Extensions[annotations_pb2.http]
        bindings = [rule, *rule.additional_bindings]
        return [(verb, getattr(one, verb)) for one in bindings if (verb := one.WhichOneof("pattern"))]


RPCS = [
    Rpc(f"{service.name}.{method.name}", method)
    for file in DESCRIBED.file
    if file.package.startswith("adplatform.")
    for service in file.service
    for method in service.method
]
every_rpc = pytest.mark.parametrize("rpc", RPCS, ids=[rpc.name for rpc in RPCS])


def test_descriptor_set_has_the_packages_of_the_six_services() -> None:
    packages = {file.package for file in DESCRIBED.file if file.service}
    names = ("auth", "campaign", "payment", "publisher", "analytics", "pixel")
    assert packages == {f"adplatform.{name}.v1" for name in names}


@every_rpc
def test_rpc_allows_exactly_one_kind_of_caller(rpc: Rpc) -> None:
    assert rpc.method.options.HasExtension(options_pb2.auth), "no auth option"
    kinds = [field.name for field, _ in rpc.auth.ListFields() if field.name != "verified_email"]
    assert len(kinds) == 1
    assert not rpc.auth.verified_email or kinds[0] in ("all", "any"), "only a member has an e-mail to verify"
    assert options_pb2.PERMISSION_UNSPECIFIED not in [*rpc.auth.all, *rpc.auth.any]
    assert set(rpc.auth.services) <= IDENTITIES


@every_rpc
def test_only_jobs_are_service_rpcs_with_a_route(rpc: Rpc) -> None:
    jobs = [path.startswith("/jobs/") for _, path in rpc.routes]
    if rpc.auth.services:
        assert all(jobs)
        assert all(verb == "post" for verb, _ in rpc.routes)
    else:
        assert jobs
        assert not any(jobs)


@every_rpc
def test_path_variables_are_request_fields(rpc: Rpc) -> None:
    fields = {field.name for field in rpc.request.field}
    for _, path in rpc.routes:
        assert set(re.findall(r"{([^}=]+)", path)) <= fields


@every_rpc
def test_get_rpcs_declare_no_side_effects(rpc: Rpc) -> None:
    read = [verb == "get" for verb, _ in rpc.routes]
    # The gateway retries only calls that the contract declares free of side effects.
    harmless = rpc.method.options.idempotency_level == rpc.method.options.NO_SIDE_EFFECTS
    assert not read or all(read) == harmless


def schedules() -> dict[str, str]:
    """The crontab expression of each scheduled method."""
    return {rpc.name: rpc.method.options.Extensions[options_pb2.job].schedule for rpc in RPCS}


@every_rpc
def test_exactly_the_scheduler_rpcs_have_a_schedule(rpc: Rpc) -> None:
    schedule = schedules()[rpc.name]
    assert bool(schedule) == ("scheduler" in rpc.auth.services)
    assert not schedule or re.fullmatch(r"[\d*/,-]+( [\d*/,-]+){4}", schedule)


def test_holds_are_swept_four_minutes_after_campaigns_are_synced() -> None:
    names = ("CampaignJobsService.SyncStats", "CampaignJobsService.SweepHolds")
    sync_every, sweep_at = (int(schedules()[name].split()[0].removeprefix("*/")) for name in names)
    assert sweep_at % sync_every >= 4


def test_no_two_rpcs_share_a_route() -> None:
    routes = Counter((verb, re.sub(r"{[^}]+}", "{}", path)) for rpc in RPCS for verb, path in rpc.routes)
    assert [route for route, count in routes.items() if count > 1] == []


def test_permission_bits_have_no_gaps() -> None:
    values = [value for value in options_pb2.Permission.DESCRIPTOR.values if value.number]
    infos = [value.GetOptions().Extensions[options_pb2.permission] for value in values]
    assert sorted(info.bit for info in infos) == list(range(len(values)))
    assert all(info.title for info in infos)
    assert len({info.title for info in infos}) == len(infos)


def test_every_required_permission_exists() -> None:
    required = {code for rpc in RPCS for code in [*rpc.auth.all, *rpc.auth.any]}
    assert required
    assert required <= {number for number in options_pb2.Permission.values() if number}


@every_rpc
def test_only_reads_declare_no_side_effects(rpc: Rpc) -> None:
    """RPCs without the declaration are recorded in the audit log."""
    verbs = {verb for verb, _ in rpc.routes}
    reads = rpc.name.split(".")[1].startswith(("Get", "List", "LookUp", "Find", "Resolve", "Verify", "Explain"))
    changes_nothing = rpc.method.options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    if verbs:
        assert changes_nothing == (verbs == {"get"})
    elif reads:
        assert changes_nothing
