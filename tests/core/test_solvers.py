from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.polynomial import Polynomial

from magref_core.errors import MagrefError
from magref_core.sampling.schedule import flow_schedule
from magref_core.sampling.solvers import SOLVERS, sample_dpmpp_2m, sample_euler, sample_unipc

ALL = ["unipc", "dpm++", "euler"]
FULL = {solver: flow_schedule(solver, 9, 3.0).sigmas.double() for solver in ALL}
STARTS_LATE = torch.tensor([0.8, 0.71, 0.5, 0.31, 0.3, 0.0], dtype=torch.float64)
STOPS_EARLY = torch.tensor([0.97, 0.9, 0.6, 0.55, 0.2], dtype=torch.float64)


def noise(seed: int = 0) -> torch.Tensor:
    return torch.randn(1, 4, 2, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def curved(sigmas: torch.Tensor):
    """A denoiser without symmetry: it depends on the state and on the level, neither linearly."""
    return lambda x, step: torch.tanh(1.5 * x + sigmas[step] ** 2) - 0.3 * torch.sin(5 * sigmas[step]) * x


# The oracles: the papers' formulas in alpha, sigma and lambda, on lists, in float64.


def half_log_snr(sigma: float) -> float:
    return math.inf if sigma == 0 else -math.inf if sigma == 1 else math.log(1 - sigma) - math.log(sigma)


def slow_euler(denoise, x, sigmas):
    for step, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas.tolist())):
        velocity = (x - denoise(x, step)) / sigma
        x = x + (sigma_next - sigma) * velocity
    return x


def slow_dpmpp_step(x, s: float, t: float, r: float, m0, m1):
    """DPM-Solver++ (arXiv 2211.01095), algorithm 2; r is the last step's length over this one's."""
    e = math.expm1(half_log_snr(s) - half_log_snr(t))
    d = m0 if m1 is None else (1 + 1 / (2 * r)) * m0 - 1 / (2 * r) * m1
    return t / s * x - (1 - t) * e * d


def slow_dpmpp(denoise, x, sigmas):
    sigmas = sigmas.tolist()
    answers = []
    for step, (s, t) in enumerate(itertools.pairwise(sigmas)):
        answers.append(denoise(x, step))
        second = step > 0 and t > 0 and sigmas[step - 1] < 1
        x = slow_dpmpp_step(
            x, s, t, last_over_next(sigmas, step), answers[-1], answers[-2] if second else None
        )
    return x


def last_over_next(sigmas: list[float], step: int) -> float:
    before, now, after = (half_log_snr(sigmas[max(step + offset, 0)]) for offset in (-1, 0, 1))
    return (now - before) / (after - now)


def slow_unipc(denoise, x, sigmas):
    """UniPC as a list of states: `predicted` is what the denoiser sees, `corrected` what steps start from."""
    sigmas = sigmas.tolist()
    predicted, corrected, answers = [x], [], []
    for step in range(len(sigmas) - 1):
        answers.append(denoise(predicted[step], step))
        corrected.append(x if step == 0 else slow_correction(corrected[-1], sigmas, step, answers))
        second = step > 0 and sigmas[step + 1] > 0 and sigmas[step - 1] < 1
        r = last_over_next(sigmas, step)
        previous = answers[-2] if second else None
        predicted.append(
            slow_dpmpp_step(corrected[-1], sigmas[step], sigmas[step + 1], r, answers[-1], previous)
        )
    return predicted[-1]


def slow_correction(x, sigmas: list[float], step: int, answers):
    """The step to `step` again, with the answer found there."""
    s, t = sigmas[step - 1], sigmas[step]
    if step == 1:  # order 1: the mean of both ends
        return (
            t / s * x
            - (1 - t) * math.expm1(half_log_snr(s) - half_log_snr(t)) * (answers[0] + answers[1]) / 2
        )
    if sigmas[step - 2] == 1:
        return exact_step(x, sigmas, [step - 1, step], answers)
    return exact_step(x, sigmas, [step - 2, step - 1, step], answers)


def exact_step(x, sigmas: list[float], known: list[int], answers):
    """Solve the flow with the denoised state on the polynomial in lambda through the known answers.

    UniC of order p picks its weights so that polynomials of degree p are integrated exactly, so the two
    must agree. x(t) / sigma(t) = x(s) / sigma(s) + integral of exp(lambda) x0(lambda) from s to t.
    """
    s, t = known[-2], known[-1]
    places = [half_log_snr(sigmas[i]) for i in known]
    lo, hi = half_log_snr(sigmas[s]), half_log_snr(sigmas[t])
    nodes, weights = np.polynomial.legendre.leggauss(24)
    integral = torch.zeros_like(x)
    for node, weight in zip(nodes, weights, strict=True):
        place = (lo + hi) / 2 + (hi - lo) / 2 * node
        for i, basis in zip(known, lagrange(places), strict=True):
            integral += weight * (hi - lo) / 2 * math.exp(place) * basis(place) * answers[i]
    return sigmas[t] * (x / sigmas[s] + integral)


def lagrange(places: list[float]) -> list[Polynomial]:
    bases = []
    for here in places:
        others = [place for place in places if place != here]
        scale = math.prod(here - place for place in others)
        bases.append(Polynomial.fromroots(others) / scale)
    return bases


ORACLES = {"unipc": slow_unipc, "dpm++": slow_dpmpp, "euler": slow_euler}


@pytest.mark.parametrize("solver", ALL)
@pytest.mark.parametrize("part", ["full", "starts late", "stops early", "starts at 1"])
def test_a_solver_takes_the_steps_of_its_paper(solver, part):
    from_one = torch.cat([torch.ones(1, dtype=torch.float64), STOPS_EARLY, torch.zeros(1)])
    sigmas = {"full": FULL[solver], "starts late": STARTS_LATE, "stops early": STOPS_EARLY}.get(
        part, from_one
    )
    denoise = curved(sigmas)
    ours = SOLVERS[solver](denoise, noise(), sigmas)
    torch.testing.assert_close(ours, ORACLES[solver](denoise, noise(), sigmas), atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("solver", ALL)
def test_a_constant_answer_is_approached_on_a_straight_line(solver):
    x, video = noise(1), noise(2)
    states = []
    sigmas = FULL[solver]
    final = SOLVERS[solver](
        lambda x, step: video, x, sigmas, on_step=lambda step, state, denoised: states.append(state)
    )
    for sigma, state in zip(sigmas, [*states, final], strict=True):
        share = sigma / sigmas[0]
        torch.testing.assert_close(state, share * x + (1 - share) * video, atol=1e-13, rtol=0)
    assert torch.equal(final, video)


class GaussianFlow:
    """Videos drawn from N(mean, spread^2): answer and solution of the flow are known in closed form."""

    mean, spread = 0.7, 0.4

    def width(self, sigma):
        return ((1 - sigma) ** 2 * self.spread**2 + sigma**2) ** 0.5

    def denoise(self, x, sigma):
        gain = (1 - sigma) * self.spread**2 / self.width(sigma) ** 2
        return self.mean + gain * (x - (1 - sigma) * self.mean)

    def solution(self, x, sigma, sigma_next):
        stretch = self.width(sigma_next) / self.width(sigma)
        return (1 - sigma_next) * self.mean + stretch * (x - (1 - sigma) * self.mean)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("dpm++", 2), ("unipc", 3)])
def test_the_error_shrinks_with_the_order_of_the_solver(solver, order):
    flow, x = GaussianFlow(), noise()
    errors = []
    for num_steps in (40, 80, 160):
        lambdas = torch.linspace(half_log_snr(0.95), half_log_snr(0.05), num_steps + 1, dtype=torch.float64)
        sigmas = torch.sigmoid(-lambdas)
        ours = SOLVERS[solver](lambda x, step, s=sigmas: flow.denoise(x, s[step]), x, sigmas)
        errors.append((ours - flow.solution(x, sigmas[0], sigmas[-1])).abs().max().item())
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("solver", ALL)
def test_a_run_that_ends_at_0_ends_in_the_last_answer(solver):
    answers = []
    final = SOLVERS[solver](
        curved(STARTS_LATE), noise(), STARTS_LATE, on_step=lambda step, x, denoised: answers.append(denoised)
    )
    assert torch.equal(final, answers[-1])


def test_the_second_step_of_dpmpp_is_of_first_order_when_the_first_sigma_is_1():
    sigmas = torch.tensor([1.0, 0.8, 0.5])
    denoise = curved(sigmas)
    torch.testing.assert_close(
        sample_dpmpp_2m(denoise, noise(), sigmas), sample_euler(denoise, noise(), sigmas)
    )


def test_an_euler_run_may_be_cut_in_two():
    sigmas = FULL["euler"]
    denoise = curved(sigmas)
    half = sample_euler(denoise, noise(), sigmas[:5])
    rest = sample_euler(lambda x, step: denoise(x, step + 4), half, sigmas[4:])
    assert torch.equal(rest, sample_euler(denoise, noise(), sigmas))


@pytest.mark.parametrize("solver", ALL)
def test_the_denoiser_is_asked_once_per_step_and_on_step_is_told_its_answer(solver):
    asked, told = [], []

    def denoise(x, step):
        asked.append((step, x, curved(FULL[solver])(x, step)))
        return asked[-1][2]

    SOLVERS[solver](denoise, noise(), FULL[solver], on_step=lambda *event: told.append(event))
    assert [step for step, _, _ in asked] == list(range(9))
    assert len(told) == len(asked)
    for (step, x, denoised), (told_step, told_x, told_denoised) in zip(asked, told, strict=True):
        assert (step, id(x), id(denoised)) == (told_step, id(told_x), id(told_denoised))


@pytest.mark.parametrize("solver", ALL)
def test_an_error_in_on_step_stops_the_run_at_once(solver):
    told = []

    def on_step(step, x, denoised):
        told.append(step)
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SOLVERS[solver](curved(FULL[solver]), noise(), FULL[solver], on_step=on_step)
    assert told == [0, 1, 2]


@pytest.mark.parametrize("solver", ALL)
def test_nothing_that_was_handed_in_is_written_to(solver):
    x, sigmas = noise(), FULL[solver].clone()
    answers = []
    SOLVERS[solver](
        curved(FULL[solver]), x, sigmas, on_step=lambda *event: answers.append((event[2], event[2].clone()))
    )
    assert torch.equal(x, noise())
    assert torch.equal(sigmas, FULL[solver])
    assert all(torch.equal(answer, copy) for answer, copy in answers)


@pytest.mark.parametrize("solver", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_state_keeps_its_dtype(solver, dtype):
    sigmas = FULL[solver].float()
    final = SOLVERS[solver](lambda x, step: 0.5 * x, noise().to(dtype), sigmas)
    assert final.dtype == dtype


@pytest.mark.parametrize("solver", ALL)
def test_gradients_pass_through_a_run(solver):
    sigmas = torch.tensor([0.9, 0.6, 0.4, 0.2], dtype=torch.float64)
    x = noise()[0, 0].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: SOLVERS[solver](curved(sigmas), x, sigmas), (x,))


@pytest.mark.parametrize("solver", ALL)
@pytest.mark.parametrize("sigmas", [torch.tensor([0.7]), torch.tensor([])])
def test_without_a_step_the_state_comes_back_as_it_is(solver, sigmas):
    x = noise()
    assert SOLVERS[solver](curved(sigmas), x, sigmas) is x


def test_unipc_starts_from_a_sigma_of_exactly_1_without_nan():
    sigmas = torch.tensor([1.0, 0.9, 0.7, 0.4, 0.0])
    assert sample_unipc(curved(sigmas), noise().float(), sigmas).isfinite().all()


@pytest.mark.parametrize("solver", ALL)
def test_sigmas_of_another_kind_of_model_are_refused_with_the_remedy(solver):
    with pytest.raises(MagrefError, match=r"a sigma is 14\.6, .* from 1 down to 0: use it with a flow model"):
        SOLVERS[solver](curved(STARTS_LATE), noise(), torch.tensor([14.6, 3.0, 0.0]))


@pytest.mark.parametrize("solver", ALL)
@pytest.mark.parametrize(("last", "text"), [(0.5, "0.5"), (0.6, "0.6"), (0.9, "0.9")])
def test_sigmas_that_do_not_fall_are_refused_with_the_remedy(solver, last, text):
    sigmas = torch.tensor([0.8, 0.5, last])
    with pytest.raises(MagrefError, match=rf"sigma 0\.5 is followed by {text}, .* use fewer steps"):
        SOLVERS[solver](curved(sigmas), noise(), sigmas)


def test_sigmas_that_are_nan_are_refused():
    with pytest.raises(MagrefError, match="a sigma is nan"):
        sample_euler(curved(STARTS_LATE), noise(), torch.tensor([0.8, float("nan"), 0.0]))
