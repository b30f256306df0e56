import math
from dataclasses import dataclass
import torch
from torch import Tensor
from lvkam_pyro.ladder.slices import Points, SliceTarget, SliceWalk, fit, take

def shaped(points, *shape):
    return Points(*(t.unflatten(0, shape) for t in points.tensors))

class NestedRun:
    def __init__(self, target, R, K, kill, steps, tol, K0=None, max_levels=2000, max_prior=1<<17):
        self.target, self.R, self.K, self.kill, self.steps, self.tol = target, R, K, kill, steps, tol
        U = target.num_units
        self.max_levels = max_levels
        n = K0 or 8 * K
        pts = [target.points_at(target.draw_finite_prior(R * n))]
        tot = n
        while tot * R < max_prior:
            ll = torch.cat([p.log_likelihood for p in pts])
            above = (ll > ll.amin(0)).sum(0)
            need = (above < len(ll) / 2) & (above < R * K) & (above > 0 | True)
            if not bool(need.any()): break
            pts.append(target.points_at(target.draw_finite_prior(R * tot)))
            tot *= 2
        self.num_prior = tot * R
        pts = Points(*(torch.cat(ts) for ts in zip(*(p.tensors for p in pts))))
        self.live = shaped(pts, tot, R)
        z = torch.zeros(R, U, dtype=torch.float64)
        self.log_w = z.clone()
        self.log_z = z - math.inf
        self.mean_ll = z.clone()
        self.bins = torch.zeros(20, U, dtype=torch.float64)
        self.levels = torch.zeros(R, U)
        self.tries = z.clone(); self.num_steps = z.clone()

    def run(self):
        n = len(self.live.log_likelihood)
        self.level_step(n - self.K)
        for i in range(self.max_levels):
            if not bool((self.log_w > -math.inf).any()):
                return
            self.level_step(self.kill)
        self.exhausted = True

    def level_step(self, kill):
        ll = self.live.log_likelihood
        n = len(ll)
        open_ = self.log_w > -math.inf
        level = ll.sort(0).values[kill - 1]
        dead = ll <= level
        mean = ll.logsumexp(0) - math.log(n)
        total = torch.logaddexp(self.log_z, self.log_w + mean)
        closing = (self.log_w + ll.amax(0) - total < math.log(self.tol)) | dead.all(0)
        if n > self.K: closing = dead.all(0)
        dead = dead | closing
        lw = torch.where(dead, self.log_w + ll - math.log(n), -math.inf)
        new_z = torch.logaddexp(self.log_z, lw.logsumexp(0))
        self.mean_ll = self.mean_ll * (self.log_z - new_z).exp().nan_to_num(0) + ((lw - new_z).exp().nan_to_num(0) * ll.nan_to_num(neginf=0)).sum(0)
        self.log_z = new_z
        survivors = n - dead.sum(0)
        self.log_w = self.log_w + (survivors / n).log()
        self.levels += open_
        open_ = self.log_w > -math.inf
        if not bool(open_.any()):
            return
        needed = torch.where(open_, self.K - survivors, 0).clamp(min=0)
        order = dead.to(torch.uint8).argsort(dim=0, stable=True)
        if n > self.K and bool((needed > 0).any()) or n == self.K:
            new = self.refill(level, dead, survivors, needed)
        slot = torch.arange(self.K)[:, None, None]
        old = torch.where(open_, slot < survivors, True)
        kept = Points(*(take3(t, order[:self.K]) for t in self.live.tensors))
        if bool((~old).any()):
            fresh = Points(*(take3(t, (slot - survivors).clamp(min=0, max=len(new.log_prior) - 1)) for t in new.tensors))
            self.live = kept.where(~old, fresh)
            self.insertion(kept.log_likelihood, old, new.log_likelihood[:self.M], needed)
        else:
            self.live = kept

    def refill(self, level, dead, survivors, needed):
        R, U = level.shape
        self.M = M = max(1, self.kill // self.steps)
        key = torch.where(dead, 2.0, torch.rand_like(dead, dtype=torch.float64))
        perm = key.argsort(0)
        j = torch.arange(M)[:, None, None] % survivors.clamp(min=1)
        parents = perm.gather(0, j)
        start = Points(*(take3(t, parents).flatten(0, 1) for t in self.live.tensors))
        steps = -(-needed // M)
        flat = self.live.position
        pool = (~dead) & (self.log_w > -math.inf)
        factor = covariance_factor(flat.flatten(0, 1), pool.flatten(0, 1))
        walk = SliceWalk(self.target, start, level.expand(M, R, U).flatten(0, 1), steps.expand(M, R, U).flatten(0, 1).contiguous(), factor)
        path = walk.run()
        self.tries += walk.num_tries.unflatten(0, (M, R)).sum(0)
        self.num_steps += steps * M
        P = len(path.log_prior)
        return Points(*(t.unflatten(1, (M, R)).flatten(0, 1) for t in path.tensors))

    def insertion(self, kept, old, new, needed):
        M = min(len(new), self.M)
        new = new[:M]
        valid = torch.arange(M)[:, None, None] < needed
        n_s = old.sum(0)
        below = ((kept[None] < new[:, None]) & old).sum(1)
        earlier = torch.ones(M, M).tril(-1).bool()[..., None, None]
        below = below + ((new[None] < new[:, None]) & earlier).sum(1)
        count = n_s + torch.arange(M)[:, None, None]
        v = (below + torch.rand(new.shape, dtype=torch.float64)) / (count + 1)
        b = (v * 20).long().clamp(max=19)
        hot = torch.nn.functional.one_hot(b, 20) * valid[..., None]
        self.bins += hot.sum((0, 1)).T

def take3(t, index):
    return t.take_along_dim(index if t.ndim == 3 else index[..., None], 0)

def covariance_factor(x, mask):
    w = mask.double()[..., None]
    cnt = w.sum(0).clamp(min=1)
    mean = (x.double() * w).sum(0) / cnt
    c = (x.double() - mean) * w
    cov = torch.einsum("sui,suj->uij", c, c) / cnt[..., None]
    d = cov.diagonal(dim1=-2, dim2=-1)
    cov = cov + torch.diag_embed(1e-6 * d + 1e-12)
    return torch.linalg.cholesky(cov)
