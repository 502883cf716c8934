"""What roles grant."""

from adplatform.options.v1.options_pb2 import Permission

from auth_service.roles.model import OWNER_ROLE, ROLES

GRANTS = {role.code: role.permissions for role in ROLES}


def test_only_the_platforms_admin_approves_or_has_everything() -> None:
    reserved = {Permission.PAYMENTS_APPROVE, Permission.PUBLISHERS_APPROVE, Permission.ADMIN_FULL}
    for code, granted in GRANTS.items():
        assert bool(granted & reserved) == (code == "admin")


def test_an_advertiser_cannot_touch_publishers_nor_a_publisher_campaigns() -> None:
    names = {code: {Permission.Name(one).partition("_")[0] for one in granted} for code, granted in GRANTS.items()}
    assert "PUBLISHERS" not in names["owner"]
    assert "CAMPAIGNS" not in names["publisher"]


def test_a_member_only_looks() -> None:
    assert all(Permission.Name(code).endswith("_READ") for code in GRANTS["member"])
    assert GRANTS["member"] < GRANTS["manager"] < GRANTS["owner"]


def test_every_kind_of_organization_has_a_role_for_its_owner() -> None:
    assert set(OWNER_ROLE) == {"ADVERTISER", "PUBLISHER", "PLATFORM"}
    assert set(OWNER_ROLE.values()) <= set(GRANTS)
