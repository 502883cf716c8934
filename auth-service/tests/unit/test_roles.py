"""Roles: their permissions, and the names that a custom role can have."""

from uuid import UUID

import pytest
from adplatform.options.v1.options_pb2 import Permission
from hypothesis import given
from hypothesis import strategies as st

from auth_service.authorization.model import (
    MAX_PERMISSIONS,
    ROLES,
    RightsExceeded,
    Role,
    effective,
    missing,
    require_within,
)
from auth_service.roles.model import Reason, RoleExists, described, permission_reason, require_available_name
from auth_service.tenancy.model import OWNER_ROLE

GRANTS = {role.code: role.permissions for role in ROLES}


def test_only_platform_admin_has_approval_permissions() -> None:
    reserved = {Permission.PAYMENTS_APPROVE, Permission.PUBLISHERS_APPROVE, Permission.ADMIN_FULL}
    for code, granted in GRANTS.items():
        assert bool(granted & reserved) == (code == "admin")


def test_owner_roles_have_no_permissions_of_other_kinds() -> None:
    names = {code: {Permission.Name(one).partition("_")[0] for one in granted} for code, granted in GRANTS.items()}
    assert "PUBLISHERS" not in names["owner"]
    assert "CAMPAIGNS" not in names["publisher"]


def test_member_role_only_reads() -> None:
    assert all(Permission.Name(code).endswith("_READ") for code in GRANTS["member"])
    assert GRANTS["member"] < GRANTS["manager"] < GRANTS["owner"]


def test_every_organization_kind_has_an_owner_role() -> None:
    assert set(OWNER_ROLE) == {"ADVERTISER", "PUBLISHER", "PLATFORM"}
    assert set(OWNER_ROLE.values()) <= set(GRANTS)


codes = st.frozensets(st.sampled_from(sorted(set(Permission.values()) - {0})))


@given(codes, codes)
def test_permissions_beyond_own_are_refused(own: frozenset[int], others: frozenset[int]) -> None:
    if Permission.ADMIN_FULL in own or others <= own:
        require_within(own, others)
        assert not missing(own, others)
        return
    with pytest.raises(RightsExceeded) as refused:
        require_within(own, frozenset(), others)
    lacking = {Permission.Value(name) for name in refused.value.metadata["missing"].split(",")}
    assert lacking == others - own


@given(st.sampled_from(sorted(OWNER_ROLE)), codes)
def test_effective_permissions_are_within_the_organization_kind(kind: str, granted: frozenset[int]) -> None:
    assert effective(kind, granted) <= granted & MAX_PERMISSIONS[kind]
    assert Permission.ADMIN_FULL not in effective(kind, granted) or kind == "PLATFORM"


@pytest.mark.parametrize(
    ("kind", "granted", "reason"),
    [
        ("ADVERTISER", {Permission.CAMPAIGNS_READ}, Reason.GRANTED_BY_ROLE),
        ("ADVERTISER", {Permission.REPORTS_READ}, Reason.NOT_IN_ROLE),
        ("PUBLISHER", {Permission.CAMPAIGNS_READ}, Reason.NOT_IN_KIND),
        ("PLATFORM", {Permission.ADMIN_FULL}, Reason.GRANTED_BY_ADMIN_FULL),
        ("ADVERTISER", {Permission.ADMIN_FULL}, Reason.NOT_IN_ROLE),
        ("ADVERTISER", None, Reason.NOT_A_MEMBER),
    ],
)
def test_explanation_of_a_permission_has_its_reason(kind: str, granted: set[int] | None, reason: Reason) -> None:
    role = None if granted is None else Role("r", "R", "", frozenset(granted), frozenset({kind}), UUID(int=1))
    assert permission_reason(kind, role, Permission.CAMPAIGNS_READ) is reason
    assert reason.is_granted == (reason in {Reason.GRANTED_BY_ROLE, Reason.GRANTED_BY_ADMIN_FULL})
    assert described(reason, role, Permission.CAMPAIGNS_READ).endswith(".")


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("Owner", "Owner"),
        ("0wner", "Owner"),
        ("\N{CYRILLIC CAPITAL LETTER O}wner", "Owner"),
        ("\N{GREEK CAPITAL LETTER OMICRON}wn\N{CYRILLIC SMALL LETTER IE}r", "Owner"),
        ("\N{FULLWIDTH LATIN CAPITAL LETTER O}wner", "Owner"),
        ("\N{MATHEMATICAL BOLD CAPITAL O}wner", "Owner"),
        ("\N{LATIN CAPITAL LETTER O WITH DIAERESIS}wner", "Owner"),
        ("Ow\N{ZERO WIDTH SPACE}ner", "Owner"),
        ("\N{ARABIC-INDIC DIGIT ZERO}wner\N{SOFT HYPHEN}", "Owner"),
        ("o-w-n-e-r.", "Owner"),
        ("Ovvner", "Owner"),
        ("AdmIn", "Admin"),
        ("Admln", "Admin"),
        ("4DM1N", "Admin"),
        ("@dm!n", "Admin"),
        ("Adrnin", "Admin"),
        ("Publi5her", "Publisher"),
        ("M4n4g3r", "Manager"),
        ("Mernber", "Member"),
        (" m e m b e r", "Member"),
    ],
)
def test_name_that_looks_like_built_in_role_is_refused(name: str, taken: str) -> None:
    with pytest.raises(RoleExists) as refused:
        require_available_name(name, ())
    assert refused.value.metadata == {"name": name, "looksLike": taken}


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Buyer", "buyer"),
        ("Bu\N{CYRILLIC SMALL LETTER U}er", "Buyer"),
        ("Sales 1", "Sales l"),
        ("Sales 1", "Sales I"),
        ("Level 5", "Level S"),
        ("Sales  team", "Sales\N{NO-BREAK SPACE}team"),
        # Of one script throughout: only an invisible character and the case differ.
        ("\u041e\u0442\u0434\u0435\u043b", "\u043e\u0442\u200b\u0434\u0435\u043b"),
    ],
)
def test_name_that_looks_like_custom_role_is_refused(name: str, other: str) -> None:
    for one, two in ((name, other), (other, name)):
        with pytest.raises(RoleExists) as refused:
            require_available_name(one, [_named("Reader"), _named(two)])
        assert refused.value.metadata["looksLike"] == two


@pytest.mark.parametrize(
    "name", ["Buyer", "Team 2", "Team 11", "Sales-team", "Co-owner", "Campaign manager", "Администратор", "営業", "R&D"]
)
def test_distinct_name_is_available(name: str) -> None:
    others = ["Team 1", "Team 1.1", "Team A", "Sales team", "Оператор", "営業部", "RD", "Buyers"]
    require_available_name(name, [_named(other) for other in others])


def _named(name: str) -> Role:
    return Role("r", name, "", frozenset(), frozenset({"ADVERTISER"}), UUID(int=1))
