import MicroKernels

/// How many tokens and slots a workspace is made for.
struct BatchCapacity: Hashable {
    var tokens: Int
    /// Experts a token visits: the configuration's slots, or all experts for the dense baseline.
    var slots: Int
    /// Whether the caller gives the router an input of its own.
    var routerInput: Bool

    func covers(_ other: BatchCapacity) -> Bool {
        tokens >= other.tokens && slots >= other.slots && (routerInput || !other.routerInput)
    }
    func union(_ other: BatchCapacity) -> BatchCapacity {
        BatchCapacity(
            tokens: max(tokens, other.tokens), slots: max(slots, other.slots),
            routerInput: routerInput || other.routerInput)
    }
}

extension CPUBackend {
    /// The memory of a batch: reserves every array in `layout`, and returns what builds the pointers once there is a region.
    func planBuffers(
        _ capacity: BatchCapacity, layout: inout RegionLayout
    ) throws(MoEError) -> (UnsafeMutableRawPointer) -> CPUStageBuffers {
        let c = configuration
        let tileRows = tuning.tileRows
        let (tokens, slots) = (capacity.tokens, capacity.slots)
        let widest = max(c.hidden, c.expertHidden, c.shared.width ?? 0, c.expertWidth)
        // Int32 row numbers, and room to multiply sizes without overflow below.
        let (pairs, overflow) = tokens.multipliedReportingOverflow(by: slots)
        guard !overflow, pairs < Int(Int32.max), !pairs.multipliedReportingOverflow(by: widest * 64).overflow else {
            throw .input(
                name: "tokens", value: "\(tokens)", expectation: "tokens · \(slots) slots below 2^31; split the batch")
        }
        let dense = slots > c.slots
        let rows = c.mostRows(tokens: tokens, slots: slots)
        let tokenTiles = TileSplit(rows: tokens, tileRows: tileRows).count
        // Every expert may end in a tile that is not full. A unit of work has a tile at least.
        let shared = weights.sharedInner == nil ? 0 : tokenTiles
        let rowTiles = min(rows, rows / tileRows + c.experts) + shared
        let unitTiles = min(Self.blockTiles(tuning, depth: widest), max(tokenTiles, 1))
        let bufferTiles = ExpertSchedule.bufferTiles(of: rowTiles, unitTiles: unitTiles, placement: pool.placement)
        let taskCapacity = ExpertSchedule.taskCapacity(units: rowTiles, tuning: tuning, threads: pool.threads)
        let innerTileFloats = max(
            weights.down.tileFloats(tileRows), weights.sharedDown?.tileFloats(tileRows) ?? 0)
        // Lone matrices are the router and those of the latent width.
        let shallowest = min(c.hidden, c.latent ?? c.hidden)
        let scratchSize = SweepScratch.Size(
            rows: min(max(tokenTiles, 1), Self.blockTiles(tuning, depth: shallowest)) * tileRows, tuning: tuning,
            panelsTogether: max(kernels.panelsTogether, roundingKernels.panelsTogether),
            roundsActivations: arithmetic != .exact)
        // The shared expert reads the tokens that the router's packing left, unless it wants them rounded.
        let rowTileFloats = max(
            weights.inner.tileFloats(tileRows), weights.packsShared ? weights.sharedInner!.tileFloats(tileRows) : 0)
        // A transposition reads eight rows even where fewer are left.
        let keptSums =
            PanelLayout.width
            * (unitTiles * tileRows * max(weights.inner.panels, weights.sharedInner?.panels ?? 0) + 7)
        let choosing = c.capacity != .unlimited || c.router.isExpertChoice
        let routerRows = capacity.routerInput || c.router.input != .identity
        let latentRows = tokens * (c.latent ?? 0)
        let order = c.router.isExpertChoice ? tokens * pool.threads : choosing ? pairs : 0

        func reserve<Element: ~Copyable>(_ type: Element.Type, _ count: Int, if wanted: Bool = true) -> Reserved<
            Element
        > {
            wanted ? Reserved(offset: layout.reserve(type, count)) : Reserved(offset: nil)
        }
        let o = (
            tokenTiles: reserve(Float.self, tokenTiles * weights.router.tileFloats(tileRows)),
            routerRows: reserve(Float.self, tokens * c.hidden, if: routerRows),
            tokenIDs: reserve(Int32.self, tokens, if: c.router.usesTokenIDs),
            mask: reserve(UInt8.self, tokens),
            logits: reserve(Float.self, tokens * weights.router.columns),
            selectScratch: reserve(
                Float.self, pool.threads * RouterSelection.scratchFloats(choices: c.choices)),
            indices: reserve(Int32.self, tokens * c.slots),
            weights: reserve(Float.self, tokens * c.slots),
            kept: reserve(UInt8.self, tokens * c.slots, if: choosing),
            applied: reserve(Float.self, tokens * c.slots, if: c.capacity != .unlimited),
            order: reserve(Int32.self, order, if: choosing),
            served: reserve(Int32.self, c.experts, if: c.capacity != .unlimited),
            denseIndices: reserve(Int32.self, pairs, if: dense),
            denseWeights: reserve(Float.self, pairs, if: dense),
            offsets: reserve(Int32.self, 2 * c.choices + 1),
            rowTokens: reserve(Int32.self, rows),
            rowWeights: reserve(Float.self, rows, if: c.weightSide == .input),
            slotRows: reserve(Int32.self, pairs),
            rowTiles: reserve(Float.self, bufferTiles * rowTileFloats),
            loneTiles: reserve(
                Float.self,
                min(tokens, Self.mostLoneTokens) * PanelLayout.tileFloats(depth: weights.inner.depth, tileRows: 1),
                if: c.weightSide != .input),
            innerTiles: reserve(Float.self, bufferTiles * innerTileFloats),
            keptSums: reserve(Float.self, pool.threads * keptSums, if: !tuning.fusesActivation),
            rows: reserve(Float.self, rows * c.expertWidth),
            latentRows: reserve(Float.self, latentRows, if: c.latent != nil),
            latentOutput: reserve(Float.self, tokens * c.hidden, if: c.latent != nil),
            latentTiles: reserve(
                Float.self, weights.latentOut.map { tokenTiles * $0.tileFloats(tileRows) } ?? 0, if: c.latent != nil),
            sharedRows: reserve(Float.self, weights.sharedDown == nil ? 0 : tokens * c.hidden),
            units: reserve(ExpertUnit.self, rowTiles),
            tasks: reserve(ExpertTask.self, taskCapacity),
            firstTasks: reserve(Int.self, pool.placement.nodes + 1),
            progress: reserve(ExpertProgress.self, rowTiles),
            scratch: reserve(Float.self, pool.threads * scratchSize.total)
        )
        return { base in
            CPUStageBuffers(
                tokens: tokens, slots: slots, tokenTiles: o.tokenTiles.at(base),
                routerRowsStorage: o.routerRows.optional(base), tokenIDs: o.tokenIDs.optional(base),
                maskStorage: o.mask.at(base), logits: o.logits.at(base), selectScratch: o.selectScratch.at(base),
                indices: o.indices.at(base), weights: o.weights.at(base), kept: o.kept.optional(base),
                applied: o.applied.optional(base), order: o.order.optional(base), served: o.served.optional(base),
                denseIndices: o.denseIndices.optional(base), denseWeights: o.denseWeights.optional(base),
                offsets: o.offsets.at(base), rowTokens: o.rowTokens.at(base),
                rowWeights: o.rowWeights.optional(base), slotRows: o.slotRows.at(base),
                rowTiles: o.rowTiles.at(base), rowTileFloats: rowTileFloats,
                loneTiles: o.loneTiles.optional(base), innerTiles: o.innerTiles.at(base),
                innerTileFloats: innerTileFloats,
                keptSums: o.keptSums.optional(base), keptSumsFloats: keptSums,
                rows: o.rows.at(base), latentRows: o.latentRows.optional(base),
                latentOutput: o.latentOutput.optional(base), latentTiles: o.latentTiles.optional(base),
                sharedRows: o.sharedRows.at(base),
                schedule: ExpertSchedule(
                    units: o.units.at(base), tasks: o.tasks.at(base), progress: o.progress.at(base),
                    taskCapacity: taskCapacity, firstTasks: o.firstTasks.at(base), unitTiles: unitTiles,
                    bufferTiles: bufferTiles, tuning: self.tuning, placement: self.pool.placement),
                scratch: SweepScratch(base: o.scratch.at(base), size: scratchSize))
        }
    }
}

/// The place of an array in a region to come; none where the layer does not need it.
private struct Reserved<Element: ~Copyable> {
    let offset: Int?

    func at(_ base: UnsafeMutableRawPointer) -> UnsafeMutablePointer<Element> { base.array(Element.self, at: offset!) }
    func optional(_ base: UnsafeMutableRawPointer) -> UnsafeMutablePointer<Element>? {
        offset.map { base.array(Element.self, at: $0) }
    }
}
