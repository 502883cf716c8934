"""Permission sets are bitmasks, and ADMIN_FULL satisfies every requirement."""

from adplatform.options.v1.options_pb2 import Permission
from hypothesis import given
from hypothesis import strategies as st

from adlib import permissions

CODES = sorted(permissions.titles())


@given(st.sets(st.sampled_from(CODES)))
def test_codes_round_trip_through_the_mask(codes: set[int]) -> None:
    assert permissions.codes(permissions.mask(codes)) == sorted(codes)


@given(st.sets(st.sampled_from(CODES)), st.sets(st.sampled_from(CODES), min_size=1))
def test_all_and_any_are_set_operations(held: set[int], required: set[int]) -> None:
    everything = Permission.ADMIN_FULL in held
    mask, need = permissions.mask(held), permissions.mask(required)
    assert permissions.satisfies(mask, required_all=need) == (everything or required <= held)
    assert permissions.satisfies(mask, required_any=need) == (everything or bool(required & held))


def test_unknown_code_grants_nothing() -> None:
    assert permissions.mask([999_999]) == 0
