"""The published way of tracking, written out: an object a track and a detection, a solve a track, lists that are scanned.

Only to be timed beside ours, and to see that the output is the same. Spelled after section 3.4 of the paper and the
behaviour of its release; assignment is the only part shared with ours (the release calls a C++ library there).
"""

import numpy as np
import scipy.linalg
from scipy.spatial.distance import cdist

from mot_occlusion.tracking.association import assign

_MOTION = np.eye(8) + np.eye(8, k=4)
_OBSERVE = np.eye(4, 8)
NEW, TRACKED, LOST, REMOVED = range(4)


class Filter:
    def initiate(self, measurement):
        h = measurement[3]
        std = [h / 10, h / 10, 1e-2, h / 10, h / 16, h / 16, 1e-5, h / 16]
        return np.r_[measurement, np.zeros(4)], np.diag(np.square(std))

    def multi_predict(self, means, covariances):
        h = means[:, 3]
        one = np.ones_like(h)
        std = np.array([h / 20, h / 20, 1e-2 * one, h / 20, h / 160, h / 160, 1e-5 * one, h / 160]).T
        noise = np.array([np.diag(row) for row in np.square(std)])
        return means @ _MOTION.T, (_MOTION @ covariances).transpose(0, 1, 2) @ _MOTION.T + noise

    def project(self, mean, covariance):
        h = mean[3]
        noise = np.diag(np.square([h / 20, h / 20, 1e-1, h / 20]))
        return _OBSERVE @ mean, np.linalg.multi_dot((_OBSERVE, covariance, _OBSERVE.T)) + noise

    def update(self, mean, covariance, measurement):
        expected, spread = self.project(mean, covariance)
        factor = scipy.linalg.cho_factor(spread, lower=True, check_finite=False)
        gain = scipy.linalg.cho_solve(factor, (covariance @ _OBSERVE.T).T, check_finite=False).T
        return mean + (measurement - expected) @ gain.T, covariance - np.linalg.multi_dot((gain, spread, gain.T))

    def distance(self, mean, covariance, measurements):
        expected, spread = self.project(mean, covariance)
        factor = np.linalg.cholesky(spread)
        z = scipy.linalg.solve_triangular(factor, (measurements - expected).T, lower=True, check_finite=False)
        return np.sum(z * z, axis=0)


class Track:
    def __init__(self, tlwh, score, feature):
        self.given, self.score, self.state = np.asarray(tlwh, dtype=float), score, NEW
        self.mean, self.covariance, self.confirmed = None, None, False
        self.feature, self.smooth = None, None
        self.learn(feature)

    def learn(self, feature):
        feature = feature / np.linalg.norm(feature)
        self.feature = feature
        self.smooth = feature if self.smooth is None else 0.9 * self.smooth + 0.1 * feature
        self.smooth = self.smooth / np.linalg.norm(self.smooth)

    @property
    def tlwh(self):
        if self.mean is None:
            return self.given.copy()
        box = self.mean[:4].copy()
        box[2] *= box[3]
        box[:2] -= box[2:] / 2
        return box

    @property
    def tlbr(self):
        box = self.tlwh
        box[2:] += box[:2]
        return box

    def xyah(self):
        box = self.given.copy()
        box[:2] += box[2:] / 2
        box[2] /= box[3]
        return box


def iou_cost(tracks, others):
    cost = np.ones((len(tracks), len(others)))
    if cost.size:
        a, b = np.array([t.tlbr for t in tracks]), np.array([t.tlbr for t in others])
        low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
        common = np.prod(np.clip(high - low + 1, 0, None), axis=2)
        size_a, size_b = np.prod(a[:, 2:] - a[:, :2] + 1, axis=1), np.prod(b[:, 2:] - b[:, :2] + 1, axis=1)
        cost = 1 - common / (size_a[:, None] + size_b - common)
    return cost


def joined(first, second):
    known = {track.identity for track in first}
    return first + [track for track in second if track.identity not in known]


def without(first, second):
    gone = {track.identity for track in second}
    return [track for track in first if track.identity not in gone]


class PublishedTracker:
    """``update(boxes (n, 4) xyxy float32, scores, embeddings, centres)`` -> rows (id, x1, y1, x2, y2, score, state)."""

    def __init__(self, size, conf=0.4, reid=0.4, buffer=30, window=1):
        self.height, self.width = size
        self.conf, self.reid, self.buffer, self.window = conf, reid, buffer, window
        self.filter, self.frame, self.count = Filter(), 0, 0
        self.tracked, self.lost, self.removed, self.memory = [], [], [], {}

    def update(self, boxes, scores, embeddings, centres):
        self.frame += 1
        found, refound, newly_lost, newly_removed = [], [], [], []
        keep = (scores > self.conf) & (boxes[:, 0] <= self.width - 1) & (boxes[:, 1] <= self.width - 1)
        keep &= (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
        detections = [
            Track(np.r_[box[:2], box[2:] - box[:2]], score, feature)
            for box, score, feature in zip(boxes[keep], scores[keep], embeddings[keep], strict=True)
        ]
        unconfirmed = [track for track in self.tracked if not track.confirmed]
        pool = joined([track for track in self.tracked if track.confirmed], self.lost)
        if pool:
            means = np.array([track.mean.copy() for track in pool])
            for i, track in enumerate(pool):
                if track.state != TRACKED:
                    means[i, 7] = 0
            means, covariances = self.filter.multi_predict(means, np.array([track.covariance for track in pool]))
            for track, mean, covariance in zip(pool, means, covariances, strict=True):
                track.mean, track.covariance = mean, covariance
        cost = np.zeros((len(pool), len(detections)))
        if cost.size:
            features = np.array([d.feature for d in detections], dtype=float)
            smooth = np.array([t.smooth for t in pool], dtype=float)
            cost = np.maximum(0.0, cdist(smooth, features, "cosine"))
            measurements = np.array([d.xyah() for d in detections])
            for row, track in enumerate(pool):
                distance = self.filter.distance(track.mean, track.covariance, measurements)
                cost[row, distance > 9.4877] = np.inf
                cost[row] = 0.98 * cost[row] + 0.02 * distance
        left, detections = self.match(pool, detections, cost, self.reid, found, refound)
        waiting = [track for track in left if track.state == TRACKED]
        left, detections = self.match(waiting, detections, iou_cost(waiting, detections), 0.5, found, refound)
        for track in left:
            track.state = LOST
            newly_lost.append(track)
        left, detections = self.match(unconfirmed, detections, iou_cost(unconfirmed, detections), 0.7, found, refound)
        for track in left:
            track.state = REMOVED
            newly_removed.append(track)
        for track in detections:
            if track.score >= self.conf:
                self.count += 1
                track.identity, track.state, track.confirmed = self.count, TRACKED, self.frame == 1
                track.first = track.last = self.frame
                track.mean, track.covariance = self.filter.initiate(track.xyah())
                found.append(track)
        for track in self.lost:
            if self.frame - track.last > self.buffer:
                track.state = REMOVED
                newly_removed.append(track)
        self.tracked = joined(joined([t for t in self.tracked if t.state == TRACKED], found), refound)
        self.lost = without(without(self.lost, self.tracked) + newly_lost, self.removed)
        self.removed.extend(newly_removed)
        near = np.argwhere(iou_cost(self.tracked, self.lost) < 0.15)
        drop_tracked, drop_lost = set(), set()
        for i, j in near:
            a, b = self.tracked[i], self.lost[j]
            if a.last - a.first > b.last - b.first:
                drop_lost.add(j)
            else:
                drop_tracked.add(i)
        self.tracked = [track for i, track in enumerate(self.tracked) if i not in drop_tracked]
        self.lost = [track for j, track in enumerate(self.lost) if j not in drop_lost]
        shown = [track for track in self.tracked if track.confirmed]
        return self.report(shown, centres)

    def match(self, tracks, detections, cost, limit, found, refound):
        rows, columns = assign(cost, limit)
        for row, column in zip(rows, columns, strict=True):
            track, detection = tracks[row], detections[column]
            track.mean, track.covariance = self.filter.update(track.mean, track.covariance, detection.xyah())
            track.learn(detection.feature)
            if track.state == TRACKED:
                track.score = detection.score
                found.append(track)
            else:
                refound.append(track)
            track.state, track.confirmed, track.last = TRACKED, True, self.frame
        left = [track for row, track in enumerate(tracks) if row not in set(rows.tolist())]
        return left, [track for column, track in enumerate(detections) if column not in set(columns.tolist())]

    def report(self, shown, centres):
        rows = [[t.identity, *t.tlbr, t.score, 1] for t in shown]
        boxes = np.array([t.tlbr for t in shown]).reshape(-1, 4)
        inside = self.inside(centres, boxes).any(1)
        for track in self.lost:
            if track.identity in self.memory and (self.inside(centres, track.tlbr[None])[:, 0] & inside).any():
                rows.append([track.identity, *track.tlbr, track.score, 2])
        low, high = np.maximum(boxes[:, None, :2], boxes[:, :2]), np.minimum(boxes[:, None, 2:], boxes[:, 2:])
        share = np.clip(high - low, 0, None).prod(2) / (boxes[:, 2:] - boxes[:, :2]).prod(1)[:, None]
        np.fill_diagonal(share, 0)
        edge = np.array([self.width, self.height])
        for track, box, covered in zip(shown, boxes, share.max(1, initial=0), strict=True):
            centre = np.clip((box[:2] + box[2:]) / 2, 0, edge - 1)
            if covered > 0.2 and (centre > 0.05 * edge).all() and (centre < 0.95 * edge).all():
                self.memory[track.identity] = self.frame
        self.memory = {k: v for k, v in self.memory.items() if self.frame - v <= self.window}
        rows = np.array(rows).reshape(-1, 7)
        size = rows[:, 3:5] - rows[:, 1:3]
        return rows[(size > 0).all(1) & (size.prod(1) > 100) & (size[:, 0] <= 1.6 * size[:, 1])]

    @staticmethod
    def inside(points, boxes):
        points, boxes = np.float32(points)[:, None], np.float32(boxes)
        return ((points > boxes[:, :2]) & (points < boxes[:, 2:])).all(2)
